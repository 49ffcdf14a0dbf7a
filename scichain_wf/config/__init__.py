"""Configuration: `SCICHAIN_*` > `scichain.toml` or `[tool.scichain]` of `pyproject.toml` > default.

Flags are the command line's and the plugins' and stand above all of this. The files are looked for in the given
directory and above it, nearest first. A key or a value that is not known is an error that names the nearest known
one: a misspelled setting must not be silently without effect.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from scichain_wf import limits
from scichain_wf.errors import ConfigError

CHAIN_NAME: Final = ".scichain"
"""Directory of a chain, in the workflow's working directory, unless configured otherwise."""
_FILE: Final = "scichain.toml"
_PROJECT: Final = "pyproject.toml"
_PREFIX: Final = "SCICHAIN_"
_OTHER_VARIABLES: Final = frozenset({"SCICHAIN_RUN_ID", "SCICHAIN_RUN_CHAIN", "SCICHAIN_DEBUG"})
"""Set by a run for its inner processes, or by who looks for a mistake in here; not configuration."""


@dataclass(frozen=True, slots=True)
class Config:
    """What can be configured.

    Attributes:
        chain: directory of the chain; None: CHAIN_NAME in the workflow's working directory.
        nodes: agents of the embedded service.
        trust_root: the chain id to verify against, as `sha256:<hex>`; None: none was pinned.
    """

    chain: Path | None = None
    nodes: int = 1
    trust_root: str | None = None


def load_config(directory: Path, environment: Mapping[str, str] | None = None) -> Config:
    """The configuration that holds in `directory`.

    Raises:
        ConfigError: a file cannot be read or parsed, a key is unknown, or a value is out of its bounds.
    """
    config = Config()
    for place in (directory, *directory.parents):
        found = _of_directory(place)
        if found is not None:
            config = found
            break
    environment = os.environ if environment is None else environment
    for variable, value in sorted(environment.items()):
        if variable.startswith(_PREFIX) and variable not in _OTHER_VARIABLES:
            config = _with(config, variable.removeprefix(_PREFIX).lower(), value, f"${variable}", directory)
    return config


def checked_nodes(value: object, where: str) -> int:
    """A number of agents.

    Raises:
        ConfigError: not an integer from 1 to EMBEDDED_NODES_MAX.
    """
    try:
        nodes = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else 0
    except ValueError:
        nodes = 0
    if not 1 <= nodes <= limits.EMBEDDED_NODES_MAX:
        raise ConfigError(f"{where}: {value!r:.80} is not a number of agents from 1 to {limits.EMBEDDED_NODES_MAX}")
    return nodes


def _of_directory(directory: Path) -> Config | None:
    for name in (_FILE, _PROJECT):
        path = directory / name
        table = _read(path) if path.is_file() else None
        if table is not None and name == _PROJECT:
            tool = table.get("tool")
            table = tool.get("scichain") if isinstance(tool, dict) else None
        if isinstance(table, dict):
            config = Config()
            for key, value in table.items():
                config = _with(config, key, value, f"{path}: {key}", directory)
            return config
    return None


def _read(path: Path) -> dict[str, Any]:
    import tomllib  # most directories have no such file

    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None


def _with(config: Config, key: str, value: object, where: str, directory: Path) -> Config:
    if key == "nodes":
        return replace(config, nodes=checked_nodes(value, where))
    if key == "chain":
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{where}: expected the path of a chain's directory")
        return replace(config, chain=directory / Path(value).expanduser())
    if key == "trust_root":
        from scichain_wf.errors import DecodeError
        from scichain_wf.model.text import digest_bytes

        try:
            digest_bytes(str(value))
        except DecodeError as error:
            raise ConfigError(f"{where}: {error}") from None
        return replace(config, trust_root=str(value))
    from difflib import get_close_matches

    known = ("chain", "nodes", "trust_root")
    near = get_close_matches(key, known, 1, 0)
    raise ConfigError(f"{where}: there is no such setting; did you mean {near[0]!r}? Known are: {', '.join(known)}")
