"""Signing keys and other secrets in files.

A key file is one line of text, `scichain-wf-key-v1 <64 hex digits>`, with the secret seed of one Ed25519 key.
Whoever reads it can sign as its owner, so a file that others can read, that others own, or that is reached
through a symbolic link is refused with the remedy instead of being used.

Invariants: an existing file is never overwritten; a key is on disk (fsync of file and directory) before `save`
returns, or there is no file; what is checked is the open file, not a name that could be exchanged in between;
opening never hangs (a FIFO is refused).

What it does not do: no encryption at rest, no locking, and it neither judges nor changes a directory that
exists already. Without POSIX modes (Windows) the checks of owner and mode and the fsync of the directory are
skipped; protect the directory there by its access list.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
from pathlib import Path
from typing import Final

from scichain_wf.crypto.signing import SEED_BYTES, SigningKey
from scichain_wf.errors import ConfigError, DecodeError, UsageError

_POSIX = os.name == "posix"
_MAGIC: Final = b"scichain-wf-key-v1 "
_FILE_BYTES: Final = len(_MAGIC) + 2 * SEED_BYTES + 1
_FORMAT: Final = re.compile(re.escape(_MAGIC) + rb"([0-9a-f]{%d})\n" % (2 * SEED_BYTES))
# Absent on Windows: O_NOFOLLOW, O_NONBLOCK, O_CLOEXEC. Absent elsewhere: O_BINARY.
_FLAGS: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NONBLOCK: Final = getattr(os, "O_NONBLOCK", 0)


def generate() -> SigningKey:
    """A new key from the operating system's randomness."""
    return SigningKey.from_seed(os.urandom(SEED_BYTES))


def save(path: str | os.PathLike[str], key: SigningKey) -> None:
    """Write `key` to the new file `path` (mode 0600), making its directory (mode 0700) if there is none.

    Raises:
        UsageError: `path` exists; it was not touched.
        ConfigError: it could not be written; no file was left.
    """
    save_secret(path, _MAGIC + key.seed.hex().encode("ascii") + b"\n")


def save_secret(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to the new file `path`; mode, directory and errors as of `save`."""
    file = Path(path)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    except OSError as error:
        if error.errno == errno.EEXIST and os.path.lexists(file):
            raise UsageError(
                f"{file} exists and a key is never overwritten: choose another path, or move it away"
            ) from None
        raise _unwritable(file, error) from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        _sync_directory(file.parent)
    except BaseException as error:  # also an interrupt: half a key must not stay behind
        file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(file, error) from None
        raise


def load(path: str | os.PathLike[str]) -> SigningKey:
    """The key in the file `path`.

    Raises:
        ConfigError: there is no such file, it cannot be read, it is not a regular file, or others own or may read it.
        DecodeError: it is not a key file.
    """
    match = _FORMAT.fullmatch(load_secret(path, _FILE_BYTES + 1))  # one more shows that something follows the key
    if match is None:
        raise DecodeError(
            f"{Path(path)} is not a key file of scichain-wf (one line, `{_MAGIC.decode()}<{2 * SEED_BYTES} hex digits>`"
            "): it was cut short, edited or is something else; restore it from a copy, or make a new key"
        )
    return SigningKey.from_seed(bytes.fromhex(match[1].decode("ascii")))


def load_secret(path: str | os.PathLike[str], size_bytes_max: int) -> bytes:
    """The first so many bytes of the file `path`, which nobody else may read.

    Raises:
        ConfigError: as of `load`.
    """
    file = Path(path)
    try:
        descriptor = os.open(file, os.O_RDONLY | _FLAGS | _NONBLOCK)  # a FIFO without a writer would hang
        try:
            _check_status(file, os.fstat(descriptor))
            return os.read(descriptor, size_bytes_max)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreadable(file, error) from None


def _check_status(file: Path, status: os.stat_result) -> None:
    """Refuse what is not a regular file that only this user may read."""
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{file} is not a regular file: give the path of a key file")
    if not _POSIX:
        return
    if status.st_uid != os.geteuid():
        raise ConfigError(
            f"key file {file} belongs to user id {status.st_uid}, not to {os.geteuid()} who runs this:"
            " use a key of your own"
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        remedy = f"chmod 600 {shlex.quote(str(file))}"
        raise ConfigError(
            f"others may use key file {file} (mode {mode:04o}): run `{remedy}`; if they did, make a new key"
        )


def _sync_directory(directory: Path) -> None:
    """Make the new name durable, not only the bytes behind it."""
    if not _POSIX:
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unreadable(file: Path, error: OSError) -> ConfigError:
    if error.errno == errno.ENOENT:
        return ConfigError(f"there is no key file {file}: check the path, or make a key")
    if error.errno == errno.ELOOP:
        return ConfigError(f"key file {file} is a symbolic link: give the path of the file itself")
    return ConfigError(f"key file {file} cannot be read: {error.strerror}")


def _unwritable(file: Path, error: OSError) -> ConfigError:
    return ConfigError(f"key file {file} cannot be written: {error.strerror}; choose another place or make room")
