"""Configuration: flag > `SCICHAIN_*` > project's file > user's file > default.

The project's file is `scichain.toml`, or `pyproject.toml` with a table `[tool.scichain]`, in the given directory or
the nearest one above it that has one. The user's is `$XDG_CONFIG_HOME/scichain/config.toml` (`~/.config` without that
variable). A key that is not known, or a value that is not as expected, is an error that names file and line, variable
or flag: a misspelled setting must not be silently without effect. Standard library only: engines import this.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from scichain_wf.config.files import TomlTable, project_table, user_table
from scichain_wf.config.settings import BY_NAME, SETTINGS, Config, Setting
from scichain_wf.errors import ConfigError

__all__ = ["CHAIN_NAME", "DEFAULT", "SETTINGS", "Config", "Loaded", "Setting", "load", "load_config", "wants_strict"]

CHAIN_NAME: Final = ".scichain"
"""Directory of a chain, in the workflow's working directory, unless configured otherwise."""
DEFAULT: Final = "default"
"""Origin of what nobody configured."""
_PREFIX: Final = "SCICHAIN_"
_OTHER_VARIABLES: Final = frozenset({"SCICHAIN_RUN_ID", "SCICHAIN_RUN_CHAIN", "SCICHAIN_RUN_ROOT", "SCICHAIN_DEBUG"})
"""Set by a run for its inner processes, or by who looks for a mistake in here; not configuration."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and, by setting, where each value comes from."""

    config: Config
    origins: Mapping[str, str]
    project: Path | None = None
    """The project's file, if there is one."""

    def is_projects(self, setting: str) -> bool:
        """Whether a value comes from the project's file, which whoever made the project wrote."""
        return self.project is not None and self.origins[setting].startswith(f"{self.project}")


def load_config(
    directory: Path,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    flag_prefix: str = "--",
) -> Config:
    """The configuration that holds in `directory`; arguments and errors as in `load`."""
    return load(directory, environment, flags, flag_prefix).config


def load(
    directory: Path,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    flag_prefix: str = "--",
) -> Loaded:
    """The configuration that holds in `directory`, and where it comes from.

    Args:
        directory: absolute; where relative paths start, but for those in a project's file.
        environment: instead of the process's own.
        flags: values by setting, of the types that files have; None: not given.
        flag_prefix: how the flags are spelled, for messages.

    Raises:
        ConfigError: a file cannot be read or parsed, a key is unknown, or a value is not as expected.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, object] = {}
    origins = dict.fromkeys(BY_NAME, DEFAULT)
    user, project = user_table(environment), project_table(directory)
    tables = [*_of_table(user, directory), *_of_table(project, project.path.parent if project else directory)]
    others = [*_of_variables(environment, directory), *_of_flags(flags, flag_prefix, directory)]
    for key, value, where, start in [*tables, *others]:
        values[key], origins[key] = _parsed(key, value, where, start), where
    path = None if project is None else project.path
    return Loaded(replace(Config(), **values), origins, path)  # type: ignore[arg-type]  # `parse` made each of its type


def wants_strict(
    directory: Path, environment: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
) -> bool:
    """Whether `strict` is asked for, as far as can be told where `load` fails; arguments as there."""
    environment = os.environ if environment is None else environment
    sources: tuple[Callable[[], list[_Given]], ...] = (
        lambda: _of_table(user_table(environment), directory),
        lambda: _of_table(project_table(directory), directory),
        lambda: _of_variables(environment, directory),
        lambda: _of_flags(flags, "", directory),
    )
    asked = Config().strict
    for given in sources:
        with suppress(ConfigError):
            for key, value, where, start in given():
                if key == "strict":
                    asked = bool(_parsed(key, value, where, start))
    return asked


_Given = tuple[str, object, str, Path]
"""Key, value, where it stands, and where a relative path in it starts."""


def _of_table(table: TomlTable | None, start: Path) -> list[_Given]:
    return [] if table is None else [(key, value, table.place(key), start) for key, value in table.values.items()]


def _of_variables(environment: Mapping[str, str], start: Path) -> list[_Given]:
    given: list[_Given] = []
    for variable, text in sorted(environment.items()):
        if variable.startswith(_PREFIX) and variable not in _OTHER_VARIABLES:
            key = variable.removeprefix(_PREFIX).lower()
            value = BY_NAME[key].of_text(text) if key in BY_NAME else None
            given.append((key, text if value is None else value, f"${variable}", start))
    return given


def _of_flags(flags: Mapping[str, object] | None, prefix: str, start: Path) -> list[_Given]:
    given = ((key, value) for key, value in (flags or {}).items() if value is not None)
    return [(key, value, prefix + key.replace("_", "-"), start) for key, value in given]


def _parsed(key: str, value: object, where: str, start: Path) -> object:
    setting = BY_NAME.get(key) or _unknown(key, where)
    try:
        return setting.parse(value, start)
    except (ValueError, TypeError):
        raise ConfigError(f"{where}: {_shown(value)} is not {setting.expects}") from None


def _unknown(key: str, where: str) -> Setting:
    from difflib import get_close_matches

    near = get_close_matches(key, BY_NAME, 1, 0)
    raise ConfigError(f"{where}: there is no such setting; did you mean {near[0]!r}? Known are: {', '.join(BY_NAME)}")


def _shown(value: object) -> str:
    return f"{value!r:.80}" if not isinstance(value, bool) else str(value).lower()
