"""Configuration files: found, read within bounds, and each key's line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scichain_wf import limits
from scichain_wf.errors import ConfigError
from scichain_wf.filehash import read_regular

_PROJECT_FILES: Final = (("scichain.toml", ()), ("pyproject.toml", ("tool", "scichain")))
"""Name, and the table in it that is ours."""
_USER_FILE: Final = "scichain/config.toml"


@dataclass(frozen=True, slots=True)
class TomlTable:
    """Our table of one file."""

    path: Path
    values: dict[str, Any]
    text: str
    inside: tuple[str, ...]

    def place(self, key: str) -> str:
        """`file:line` of a key, or the file alone where the key is written in a way that hides it.

        TOML's parser tells no lines: it is the last line that has the key's name and before which the file is whole
        and without the key.
        """
        lines = self.text.splitlines(keepends=True)
        for number in range(len(lines), 0, -1):
            before = _parsed("".join(lines[: number - 1])) if key in lines[number - 1] else None
            if before is not None and key not in (_table(before, self.inside) or {}):
                return f"{self.path}:{number}"
        return f"{self.path}"


def project_table(directory: Path) -> TomlTable | None:
    """The nearest file in or above `directory` that configures us."""
    for place in (directory, *directory.parents):
        for name, inside in _PROJECT_FILES:
            table = _read(place / name, inside)
            if table is not None:
                return table
    return None


def user_table(environment: Mapping[str, str]) -> TomlTable | None:
    """The user's file (XDG Base Directory Specification: a relative XDG_CONFIG_HOME is ignored)."""
    base = Path(environment.get("XDG_CONFIG_HOME", ""))
    if not base.is_absolute():
        home = Path(environment.get("HOME", ""))
        if not home.is_absolute():
            return None
        base = home / ".config"
    if not os.access(base, os.X_OK):
        return None  # there is none, or it is another user's: `sudo -u` keeps HOME
    return _read(base / _USER_FILE, ())


def _read(path: Path, inside: tuple[str, ...]) -> TomlTable | None:
    """The table `inside` a file; None if there is no such file, or no such table in it."""
    try:
        data = read_regular(path, limits.CONFIG_BYTES_MAX)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if inside and inside[-1].encode() not in data:
        return None  # somebody else's, which need not even be sound
    if len(data) > limits.CONFIG_BYTES_MAX:
        raise ConfigError(f"{path}: more than {limits.CONFIG_BYTES_MAX} bytes")
    import tomllib  # most directories have no such file

    try:
        text = data.decode()
        values = _table(tomllib.loads(text), inside)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return None if values is None else TomlTable(path, values, text, inside)


def _parsed(text: str) -> dict[str, Any] | None:
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return None


def _table(value: object, inside: tuple[str, ...]) -> dict[str, Any] | None:
    for name in inside:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else None
