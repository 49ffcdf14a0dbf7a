"""Files that a command writes for its user: whole or not at all; what cannot be written is said beforehand."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from pathlib import Path

from scichain_wf.errors import ConfigError


def writable(text: str) -> Path:
    """The file of this name, links followed.

    Raises:
        ConfigError: it cannot be written now; says why.
    """
    try:
        try:
            mode = os.stat(text or ".").st_mode
        except FileNotFoundError:
            mode = stat.S_IFREG
        if stat.S_ISDIR(mode):
            raise ConfigError(f"{text!r} is a directory; name a file in it")
        if not stat.S_ISREG(mode):
            return Path(text)
        file = Path(os.path.realpath(text))
        if file.exists():
            file.open("ab").close()
        part = _part(file)
        part.touch(exist_ok=False)
        part.unlink()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{text!r} cannot be written ({why}); name a file in a directory of yours") from None
    return file


def write(file: Path, text: str) -> None:
    """Write what is `writable`, or leave what was there.

    Raises:
        OSError: it could not be written; nothing of it is left, unless it is a device or a pipe.
    """
    if _is_special(file):
        file.write_text(text, encoding="utf-8")
        return
    part = _part(file)
    try:
        with part.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if file.exists():
            shutil.copymode(file, part)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _is_special(file: Path) -> bool:
    """A device or a pipe is written to, not replaced."""
    return file.exists() and not file.is_file()


def _part(file: Path) -> Path:
    """Beside it: only within one file system does a file take another's place at once."""
    return file.with_name(f".scichain-{secrets.token_hex(4)}.part")
