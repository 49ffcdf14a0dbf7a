"""The directories of one chain on tmpfs: outboxes and tails, found, taken over and removed.

    /dev/shm/scichain-<uid>/<chain>/slot-<n>/        an agent's outbox; the agent holds a lock on the directory
                                    drain.<hex>/     an outbox whose agent is gone or going: read, commit, remove
                                    tail-<n>/        an agent's ledger tail (or below `--tail-dir`); worth nothing
                                                     without its process
                                    service          a socket, where runs join the storage node

A hook re-checks the directory after each write, so renaming an outbox loses nothing: what was written before is
found by who drains it, who writes after notices and emits again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Final

from scichain_wf import limits
from scichain_wf.client.outbox import SHARED_MEMORY, SUFFIX, create_outbox, outbox_directory
from scichain_wf.errors import LedgerError, PeerError, SubmissionError

_DRAIN: Final = "drain."
_SLOT: Final = "slot-"
_TAIL: Final = "tail-"
CHAIN_LEVELS: Final = 2
"""The chain's directory and the user's."""
_WAIT_STEP_S: Final = 0.02
_MAKE_ATTEMPTS: Final = 10


def chain_directory(chain: bytes) -> Path:
    """Where everything of `chain` is on this host's tmpfs."""
    return outbox_directory(chain, 1).parent


def tail_directory(chain: bytes, slot: int, base: Path = SHARED_MEMORY) -> Path:
    """The ledger tail of `slot`, below `base`."""
    return outbox_directory(chain, slot, base).with_name(f"{_TAIL}{slot}")


def make(directory: Path, levels: int = CHAIN_LEVELS + 1) -> None:
    """Make an outbox or tail (or what is above it: fewer levels) with its private parents.

    Raises:
        SubmissionError: it cannot be made, or a level of it is not this user's alone.
    """
    for _ in range(_MAKE_ATTEMPTS):
        try:
            return create_outbox(directory, levels)
        except SubmissionError:
            if directory.parent.exists():
                raise
            # Another chain's end has just removed the empty directory above: make it again.
    return create_outbox(directory, levels)


def try_out(chain: bytes) -> None:
    """Whether agents can have outboxes on this host: an agent that cannot would only be started again and again.

    Raises:
        PeerError: why not.
    """
    trial = chain_directory(chain) / f".trial-{os.urandom(8).hex()}"
    try:
        make(trial)
    except SubmissionError as error:
        why = str(error).partition(": ")[2]
        raise PeerError(f"no agent can work on this host: {why} (`scichain-wf doctor` tells what helps)") from None
    finally:
        try:
            trial.rmdir()
        except OSError:
            pass  # it was not made


def free_bytes(directory: Path) -> int:
    """Room on the file system of `directory`."""
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


def hold(directory: Path) -> int:
    """Lock a directory for as long as this process lives; returns the descriptor that holds it.

    Raises:
        LedgerError: another process holds it.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise LedgerError(f"{directory} is in use by another agent") from None
    return descriptor


def set_aside(directory: Path) -> Path:
    """Rename an outbox so that its hooks turn elsewhere; returns where it is now."""
    target = directory.with_name(f"{_DRAIN}{os.urandom(8).hex()}")
    directory.rename(target)
    return target


def turn_away(directory: Path, *, away: bool) -> None:
    """Tell the hooks of an outbox to go elsewhere, or that they may come again."""
    mode = stat.S_ISVTX if away else 0
    directory.chmod(0o700 | mode)
    for file in directory.glob(f"*{SUFFIX}"):
        file.chmod(0o600 | mode)


def leftovers(chain: bytes, *, ended: bool) -> list[Path]:
    """Outboxes that runs before this one left behind, set aside for draining; their tails are removed.

    To be called by the writer.

    Args:
        chain: chain id.
        ended: who made them has ended, or is about to. Else they may still be held, and are found by `orphans` later.

    Raises:
        LedgerError: a process of an earlier run does not end.
    """
    base = chain_directory(chain)
    found = []
    try:
        entries = sorted(base.iterdir())
    except FileNotFoundError:
        return []
    for entry in entries:
        if entry.name.startswith(_TAIL):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name.startswith((_SLOT, _DRAIN)):
            if ended:
                _wait_until_free(entry)
            outbox = set_aside(entry) if entry.name.startswith(_SLOT) else entry
            if _is_free(outbox):
                found.append(outbox)
    return found


def has_outboxes(chain: bytes) -> bool:
    """Whether an outbox, in use or set aside, is left."""
    try:
        return any(entry.name.startswith((_SLOT, _DRAIN)) for entry in chain_directory(chain).iterdir())
    except FileNotFoundError:
        return False


def orphans(chain: bytes, living: set[int]) -> list[Path]:
    """Outboxes that no process holds, set aside for whoever takes them over; those of the `living` are theirs."""
    theirs = {f"{_SLOT}{slot}" for slot in living}
    try:
        entries = sorted(chain_directory(chain).iterdir())
    except FileNotFoundError:
        return []
    outboxes = (entry for entry in entries if entry.name.startswith((_SLOT, _DRAIN)) and entry.name not in theirs)
    free = (entry for entry in outboxes if _is_free(entry))
    return [set_aside(entry) if entry.name.startswith(_SLOT) else entry for entry in free]


def inherited(chain: bytes, slot: int) -> list[Path]:
    """Outboxes on this host for a new agent of `slot`: that of the agent before it, and those that nobody drains.

    Raises:
        LedgerError: the agent before it does not end.
    """
    own = outbox_directory(chain, slot)
    _wait_until_free(own)
    found = [set_aside(own)] if own.exists() else []
    return found + [entry for entry in sorted(own.parent.glob(f"{_DRAIN}*")) if entry not in found and _is_free(entry)]


def remove(directory: Path) -> None:
    """Remove an outbox or tail that nobody needs any more."""
    shutil.rmtree(directory, ignore_errors=True)


def remove_empty(chain: bytes, base: Path = SHARED_MEMORY) -> None:
    """Remove the chain's and the user's directory below `base` if nothing is in them."""
    chains = tail_directory(chain, 1, base).parent
    for directory in (chains, chains.parent):
        try:
            directory.rmdir()
        except OSError:
            return  # something is in it, or another chain's start made it anew


def _is_free(directory: Path) -> bool:
    try:
        os.close(hold(directory))
    except (LedgerError, FileNotFoundError):
        return False
    return True


def _wait_until_free(directory: Path) -> None:
    deadline = time.monotonic() + limits.AGENT_END_TIMEOUT_S
    while directory.exists() and not _is_free(directory):
        if time.monotonic() > deadline:
            raise LedgerError(
                f"{directory}: an agent of an earlier run does not end; end it (`fuser {directory}` names it), "
                "then start again"
            )
        time.sleep(_WAIT_STEP_S)
