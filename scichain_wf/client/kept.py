"""The newest checkpoint of each chain that this user recorded on, kept away from the chain.

    $XDG_STATE_HOME/scichain/<chain id>/checkpoint        (by default below ~/.local/state)

Whoever puts an older copy of a chain in its place does not reach this one, so the next start notices (SAFE-7).
Standard library only.
"""

from __future__ import annotations

import os
from pathlib import Path

from scichain_wf import limits


def path(chain: bytes) -> Path:
    """Where the checkpoint of `chain` (32 bytes) is kept.

    Raises:
        OSError: this user has no home.
    """
    stated = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(stated) if os.path.isabs(stated) else Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise OSError(str(error)) from None
    return base / "scichain" / chain.hex() / "checkpoint"


def read(chain: bytes) -> bytes:
    """What is kept; `OSError` if nothing is or it cannot be read."""
    with path(chain).open("rb") as file:
        return file.read(limits.NOTE_BYTES_MAX + 1)


def keep(chain: bytes, note: bytes) -> None:
    """Keep a checkpoint's text, unless one of more links is kept.

    Raises:
        OSError: it cannot be written.
    """
    target = path(chain)
    try:
        if _links(read(chain)) > _links(note):
            return
    except FileNotFoundError:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = target.with_name(f".{os.getpid()}-{os.urandom(4).hex()}")
    try:
        with temporary.open("xb") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _links(note: bytes) -> int:
    """The size that a note's second line states; -1 if it states none."""
    lines = note.split(b"\n", 2)
    return int(lines[1]) if len(lines) > 1 and lines[1].isdigit() and len(lines[1]) < 20 else -1
