"""A chain directory: made whole or not at all, opened, locked, and its newest checkpoint.

Creation writes keys, then the ledger, then `trust-root`; whatever was interrupted is finished by the next start. A
directory that holds something else is refused and left as it was. The lock is host-local: it keeps two storage nodes
of one host apart; writer epochs will do it across hosts.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scichain_wf import keystore
from scichain_wf.consensus import membership
from scichain_wf.crypto.signing import SigningKey
from scichain_wf.errors import LedgerCorrupt, LedgerError, VerificationError
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.epoch import Epoch, Settings
from scichain_wf.model.text import digest_text
from scichain_wf.model.transaction import Transaction, TransactionKey, make_key

WRITER: Final = 1
"""The only writer epoch until takeovers are implemented: storage resumes in place under the lock."""
_TRUST_ROOT: Final = "scichain-wf-trust-root-v1 "
_OURS: Final = {"keys", "ledger", "writers", "spool", "run", "refused", "trust-root", "checkpoint"}


def fresh_key() -> TransactionKey:
    """A transaction key for a record made now."""
    return make_key(time.time_ns() // 1_000_000, os.urandom(10))


@contextmanager
def locked(layout: ChainLayout) -> Iterator[None]:
    """Hold the chain's lock on this host; makes the directory if there is none.

    Raises:
        LedgerError: another storage node of this host has it, or the directory is not a chain's.
    """
    root, owner = layout.root, os.getpid()
    try:
        if root.exists():
            _check_ours(root)
        layout.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(layout.run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerError(f"{root}: cannot be used for a chain: {error.strerror}; choose another --chain") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 100, 0).decode(errors="replace").strip() or "another process"
            raise LedgerError(
                f"{root} is in use: its storage node is {holder}; wait for that run to end, or choose another --chain"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        if os.getpid() == owner:  # a forked agent has closed it already
            os.close(descriptor)


def _check_ours(root: Path) -> None:
    if not root.is_dir():
        raise LedgerError(f"{root} is not a directory; choose another --chain")
    foreign = sorted(entry.name for entry in root.iterdir() if entry.name not in _OURS and entry.name[0] != ".")
    if foreign and not (root / "trust-root").exists():
        raise LedgerError(
            f"{root} is not a chain and not empty (it holds {', '.join(foreign[:3])}); "
            "choose a directory that does not exist, or an empty one"
        )


def opened(layout: ChainLayout, slots: int, settings: Settings) -> ChainStore:
    """The chain's store; a new chain if the directory has none. To be called under the lock.

    Raises:
        LedgerError, LedgerCorrupt: it cannot be opened, or contradicts its trust root or checkpoint.
        ConfigError: its keys cannot be used.
    """
    if not layout.ledgers.exists():
        if layout.trust_root.exists():
            raise LedgerCorrupt(f"{layout.root} has a trust root and no ledger: restore the ledger from a copy")
        _create(layout, slots, settings)
    store = ChainStore.open(layout.live_ledger())
    try:
        with store.view() as view:
            chain, size = view.chain_id, view.size
            text = f"{_TRUST_ROOT}{digest_text(chain)}\n"
            if not layout.trust_root.exists():
                replace_file(layout.trust_root, text, durable=True)
            elif layout.trust_root.read_text() != text:
                raise LedgerCorrupt(f"{layout.trust_root} names another chain than the ledger beside it")
            _check_checkpoint(layout, chain, size, view.root)
    except BaseException:
        store.close()
        raise
    return store


def _create(layout: ChainLayout, slots: int, settings: Settings) -> None:
    authority, storage = _key(layout.authority_key), _key(layout.storage_key)
    host, time_us = socket.gethostname(), time.time_ns() // 1_000
    genesis = membership.genesis(authority, storage.public, slots, settings, host, time_us, fresh_key())
    layout.ledgers.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Aside, then renamed: the ledger directory is there whole or not at all.
    temporary = Path(tempfile.mkdtemp(prefix=".ledger-", dir=layout.root))
    try:
        ChainStore.create(temporary / layout.ledger_dir(WRITER).name, genesis).close()
        temporary.rename(layout.ledgers)
        _sync_directory(layout.root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _key(path: Path) -> SigningKey:
    if not path.exists():
        keystore.save(path, keystore.generate())
    return keystore.load(path)


def _check_checkpoint(layout: ChainLayout, chain: bytes, size: int, root: object) -> None:
    """The last checkpoint written must be of a prefix of this ledger (Spec: SAFE-7, the part that needs no peer)."""
    if not layout.checkpoint.exists():
        return
    checkpoint = Checkpoint.parse(layout.checkpoint.read_bytes())
    if not callable(root):
        raise TypeError("root is a function of the size")
    if checkpoint.chain != chain or checkpoint.size > size or root(checkpoint.size) != checkpoint.root:
        raise VerificationError(
            f"{layout.checkpoint} (of {checkpoint.size} links) is not of this ledger (of {size} links): "
            "the ledger was rolled back or exchanged; nothing is appended to it"
        )


def current_epoch(store: ChainStore) -> Epoch:
    """The membership in force."""
    with store.view() as view:
        _, height = view.current_epoch()
        return Epoch.from_body(Transaction.decode(view.transaction((height, 0))).body)


def replace_file(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a small file by rename, so that a reader sees the old or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
