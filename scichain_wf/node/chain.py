"""A chain directory: made whole or not at all, taken over, opened, and held against checkpoints of it.

Creation writes keys, then the ledger, then `trust-root`; whatever was interrupted is finished by the next start. A
directory that holds something else is refused and left as it was. All of it is the writer's to do (`writers`).
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scichain_wf import keystore
from scichain_wf.client import kept
from scichain_wf.client.spool import list_spool, read_spool
from scichain_wf.consensus import membership
from scichain_wf.crypto.signing import SigningKey
from scichain_wf.errors import DecodeError, LedgerCorrupt, LedgerError, SubmissionError, VerificationError
from scichain_wf.ledger.files import discard, os_failure, sync
from scichain_wf.ledger.layout import DATA_FILE
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.epoch import Epoch, Settings
from scichain_wf.model.text import digest_text
from scichain_wf.model.transaction import Transaction, TransactionKey, make_key

if TYPE_CHECKING:
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.ledger.view import ChainView
    from scichain_wf.node.writers import Writer

RECOVERY: Final = "+recover-"
"""Begins the names of spool files that hold what `recover` says; listed before all others."""
_TRUST_ROOT: Final = "scichain-wf-trust-root-v1 "
_OURS: Final = {"keys", "ledger", "writers", "spool", "run", "refused", "trust-root", "checkpoint"}


def fresh_key() -> TransactionKey:
    """A transaction key for a record made now."""
    return make_key(time.time_ns() // 1_000_000, os.urandom(10))


def prepare(layout: ChainLayout) -> None:
    """Make the chain's directory if there is none.

    Raises:
        LedgerError: it cannot be made or used, or is not a chain's.
    """
    root = layout.root
    try:
        if root.exists():
            _check_ours(root)
        layout.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = f"{error.strerror}{_whose(root)}"
        raise LedgerError(f"{root}: cannot be used for a chain: {reason}; choose another directory") from None


def _whose(root: Path) -> str:
    with suppress(OSError):
        owner = root.stat().st_uid
        if owner != os.geteuid():
            return f" (it belongs to user id {owner}, not to {os.geteuid()} who runs this)"
    return ""


def _check_ours(root: Path) -> None:
    if not root.is_dir():
        raise LedgerError(f"{root} is not a directory; choose another place for the chain")
    foreign = sorted(entry.name for entry in root.iterdir() if entry.name not in _OURS and entry.name[0] != ".")
    if foreign and not (root / "trust-root").exists():
        raise LedgerError(
            f"{root} is not a chain and not empty (it holds {', '.join(foreign[:3])}); "
            "choose a directory that does not exist, or an empty one"
        )


def take_over(layout: ChainLayout, writer: Writer, waiting: Callable[[str], None]) -> None:
    """Put the ledger where `writer` writes it. Who wrote before may wake up and write on: not where anybody looks.

    Where it is not known that every earlier writer is over, what they made durable is copied, every byte of the copy
    is recomputed, and at last the copy gets its name. What was copied from stays as it is.

    Raises:
        LedgerError, LedgerCorrupt, LedgerFull: it cannot be copied, or is damaged; nothing was changed.
    """
    if writer.in_place or not layout.newest_ledger:
        return
    # Only here: an ordinary start does not wait for these imports.
    from scichain_wf.ledger.fsck import check
    from scichain_wf.ledger.isolate import Pool, result
    from scichain_wf.ledger.walk import survey

    source, target = layout.live_ledger(), layout.ledger_dir(writer.number)
    copy = target.with_name(f".{target.name}")
    try:
        with Pool(1) as pool:  # forked before there is another thread
            result(pool, survey, source)
            with writer.beating(lambda _: None, lambda: waiting(f"copying {source}")):
                with ChainStore.open(source, readonly=True) as store:
                    store.snapshot(copy)
                problems = check(pool, result(pool, survey, copy)).problems.sorted()
        if problems:
            raise LedgerCorrupt(f"{source} is damaged ({problems[0]}) and was not taken over; `ledger fsck` tells all")
        _as_open_as(layout.ledgers, copy)
        writer.check()
        copy.rename(target)
        sync(target.parent)
    except OSError as error:
        raise os_failure(error, target, "taking the ledger over") from None
    finally:
        discard(str(copy))


def opened(layout: ChainLayout, writer: int, slots: int, settings: Settings) -> ChainStore:
    """The chain's store; a new chain if the directory has none. To be called by writer epoch `writer` when it holds.

    Raises:
        LedgerError, LedgerCorrupt: it cannot be opened, or contradicts its trust root.
        ConfigError: its keys cannot be used.
    """
    if not layout.ledgers.exists():
        if layout.trust_root.exists():
            raise LedgerCorrupt(f"{layout.root} has a trust root and no ledger: restore the ledger from a copy")
        _create(layout, writer, slots, settings)
    store = ChainStore.open(layout.live_ledger())
    try:
        with store.view() as view:
            text = f"{_TRUST_ROOT}{digest_text(view.chain_id)}\n"
            if not layout.trust_root.exists():
                replace_file(layout.trust_root, text, durable=True)
            elif layout.trust_root.read_bytes() != text.encode():
                raise LedgerCorrupt(f"{layout.trust_root} names another chain than the ledger beside it")
    except BaseException:
        store.close()
        raise
    return store


def share(layout: ChainLayout) -> None:
    """Let the group of the chain's directory read what it takes to verify it, for good. Keys and tokens stay private.

    What is made later follows: checkpoints the chain's directory, the ledgers of later writers the first.

    Raises:
        LedgerError: its mode cannot be changed.
    """
    try:
        for directory in (layout.root, layout.ledgers):
            directory.chmod(directory.stat().st_mode | stat.S_ISGID | 0o050)
        _as_open_as(layout.ledgers, layout.live_ledger())
        for file in (layout.trust_root, layout.checkpoint):
            file.chmod(_file_mode(layout.root))
    except OSError as error:
        raise os_failure(error, layout.root, "sharing the chain") from None


def _as_open_as(above: Path, ledger: Path) -> None:
    ledger.chmod(0o700 | above.stat().st_mode & 0o050)
    (ledger / DATA_FILE).chmod(_file_mode(ledger))


def _file_mode(directory: Path) -> int:
    """Of a file that whoever may list `directory` may read."""
    return 0o600 | directory.stat().st_mode & 0o044


def check_notes(store: ChainStore, layout: ChainLayout) -> list[str]:
    """Hold the chain against the checkpoints of it that are here, beside it and kept elsewhere (Spec: SAFE-7).

    Returns:
        Why that could not be done with one or the other, in words for the user.

    Raises:
        VerificationError: this chain does not continue one of them.
    """
    return [doubt for doubt in (_check_published(store, layout.checkpoint), check_kept(store)) if doubt]


def _check_published(store: ChainStore, path: Path) -> str:
    """As `check_kept`; a crash of the machine may have cut it short, since nobody waits until it is on disk."""
    with store.view() as view:
        try:
            note = Checkpoint.parse(path.read_bytes())
        except FileNotFoundError:
            return ""
        except (OSError, DecodeError) as error:
            return f"{path} cannot be used ({error}): a rollback would not be noticed by it"
        _check(view, note, path)
    return ""


def check_kept(store: ChainStore) -> str:
    """Hold the chain against the checkpoint that this user's clients kept elsewhere (Spec: SAFE-7).

    Returns:
        Why that could not be done; "" if it was, or if the chain is new.

    Raises:
        VerificationError: this chain does not continue what was kept.
    """
    with store.view() as view:
        path = kept.path(view.chain_id)
        try:
            note = kept_note(view)
        except FileNotFoundError:
            return f"there is no {path}: a rollback would not be noticed at this start" if view.size > 1 else ""
        except (OSError, DecodeError, VerificationError) as error:
            return f"{path} cannot be used ({error}): a rollback would not be noticed at this start"
        _check(view, note, path)
    return ""


def kept_note(view: ChainView) -> Checkpoint:
    """What this user's clients kept of this chain, if it proves anything.

    Raises:
        OSError, DecodeError: nothing is kept, or it cannot be read.
        VerificationError: it is of another chain, or not signed by the storage node.
    """
    note = Checkpoint.parse(kept.read(view.chain_id))
    if note.chain != view.chain_id:
        raise VerificationError("it is of another chain")
    note.verify_storage(_epoch(view).storage)
    return note


def is_continued(view: ChainView, note: Checkpoint) -> bool:
    """Whether this ledger begins with what the checkpoint covers."""
    return note.size <= view.size and view.root(note.size) == note.root


def recovery_notes(layout: ChainLayout) -> list[Path]:
    """What `recover` said and is not committed yet; errors as of `list_spool`."""
    return [path for path in list_spool(layout.spool_new.parent) if path.name.startswith(RECOVERY)]


def withdraw_false(store: ChainStore, layout: ChainLayout) -> list[str]:
    """Take back what an interrupted `recover` was about to say, where this ledger makes it false.

    Somebody put the newest copy back meanwhile: nothing was given up. To be called before an agent reads the spool.

    Returns:
        In words for the user, what was done.
    """
    said = []
    with store.view() as view, suppress(SubmissionError):  # that the spool cannot be read, its agent says
        for path in recovery_notes(layout):
            try:
                note = Checkpoint.parse(str(Transaction.decode(read_spool(path)).body["checkpoint"]))
            except (SubmissionError, DecodeError, KeyError):
                continue  # no such note
            if is_continued(view, note):
                path.unlink(missing_ok=True)
                said.append(f"`recover --accept-fork` was interrupted; this ledger has all {note.size} links again")
    return said


def _create(layout: ChainLayout, writer: int, slots: int, settings: Settings) -> None:
    authority, storage = _key(layout.authority_key), _key(layout.storage_key)
    host, time_us = socket.gethostname(), time.time_ns() // 1_000
    genesis = membership.genesis(authority, storage.public, slots, settings, host, time_us, fresh_key())
    layout.ledgers.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Aside, then renamed: the ledger directory is there whole or not at all.
    temporary = Path(tempfile.mkdtemp(prefix=".ledger-", dir=layout.root))
    try:
        ChainStore.create(temporary / layout.ledger_dir(writer).name, genesis).close()
        temporary.rename(layout.ledgers)
        sync(layout.root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _key(path: Path) -> SigningKey:
    if not path.exists():
        keystore.save(path, keystore.generate())
    return keystore.load(path)


def _check(view: ChainView, checkpoint: Checkpoint, path: Path) -> None:
    """A checkpoint that was written once must be of a prefix of this ledger (Spec: SAFE-7)."""
    size = checkpoint.size
    if checkpoint.chain != view.chain_id:
        raise VerificationError(f"{path} is of another chain: put back the one of this chain, or move it away")
    if not is_continued(view, checkpoint):
        raise VerificationError(
            f"{path} (of {size} links) is not of this ledger (of {view.size} links): the ledger was rolled back or "
            "exchanged, and nothing is appended to it; put the newest copy of the chain back, or see what is lost: "
            "`scichain-wf recover`"
        )


def current_epoch(store: ChainStore) -> Epoch:
    """The membership in force."""
    with store.view() as view:
        return _epoch(view)


def _epoch(view: ChainView) -> Epoch:
    _, height = view.current_epoch()
    return Epoch.from_body(Transaction.decode(view.transaction((height, 0))).body)


def replace_file(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a small file by rename, so that a reader sees the old or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        opened = temporary.open("x", encoding="utf-8")  # never through a link or into a pipe that somebody left there
    except FileExistsError:
        temporary.unlink()
        opened = temporary.open("x", encoding="utf-8")
    with opened as file:
        os.fchmod(file.fileno(), _file_mode(path.parent))
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        sync(path.parent)
