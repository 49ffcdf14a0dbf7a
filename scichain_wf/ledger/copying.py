"""Copies of a chain, made from links, blocks and certificates alone, with every index and tree node computed anew.

So a copy is not of damaged indexes, and the chain may grow while it is made: a little is read at a time, and read again
where the storage node reused the pages meanwhile.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, cast

from scichain_wf import limits
from scichain_wf.errors import DecodeError, LedgerBusy, LedgerCorrupt, UsageError
from scichain_wf.ledger import files, keys
from scichain_wf.ledger.fsck import FsckReport, fsck
from scichain_wf.ledger.isolate import isolated
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.rawread import RawLedger, read_format, told_apart
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.link import Link

T = TypeVar("T")
_CHUNK: Final = 64
"""Links read at once, and committed at once."""
_TAKEN: Final = "{} exists already; name a directory that does not"


def snapshot(chain_dir: Path, target: Path) -> tuple[FsckReport, int]:
    """Copy a chain, that may be growing, up to its published checkpoint: what is not signed yet is left out.

    Arguments and errors are as in `rebuild`, which copies everything.

    Returns:
        The report of `fsck` on the copy, and how many links were left out.

    Raises:
        LedgerCorrupt: the checkpoint is none.
    """
    note = ChainLayout(Path(chain_dir)).checkpoint
    if not note.is_file():
        return rebuild(chain_dir, target), 0
    try:
        with note.open("rb") as file:
            signed = Checkpoint.parse(file.read(limits.NOTE_BYTES_MAX + 1))
    except OSError as error:
        raise files.os_failure(error, note, "reading the checkpoint") from None
    except DecodeError as error:
        raise LedgerCorrupt(f"{note} is not a checkpoint ({error}); restore it from a copy, or remove it") from None
    return _copied(Path(chain_dir), Path(target), signed)


def rebuild(chain_dir: Path, target: Path) -> FsckReport:
    """Make a new chain directory whose indexes and tree come from links, blocks and certificates alone.

    Links must be whole: what they say (order, mode, annotations) is written nowhere else. The chain may grow meanwhile:
    the copy has all links that it had at the beginning. It is made aside, and is durable when it gets its name.

    Args:
        chain_dir: the chain, damaged or not; it is only read.
        target: a directory that does not exist yet.

    Returns:
        The report of `fsck` on the new chain.

    Raises:
        UsageError: `target` exists.
        LedgerError: it cannot be written, or the chain is written faster than it can be read.
        LedgerCorrupt: a link, block or certificate is damaged; names the height. Nothing is left at `target`.
    """
    return _copied(Path(chain_dir), Path(target), None)[0]


def _copied(chain_dir: Path, target: Path, signed: Checkpoint | None) -> tuple[FsckReport, int]:
    """See `rebuild`; with a checkpoint up to that, and how many links are left out."""
    layout = ChainLayout(chain_dir)
    if os.path.lexists(target):
        raise UsageError(_TAKEN.format(target))
    source = layout.live_ledger()
    with ExitStack() as undo:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            new = ChainLayout(Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)))
            undo.callback(shutil.rmtree, new.root, ignore_errors=True)
            if signed is not None:
                new.checkpoint.write_text(signed.text(), encoding="utf-8")
            for old, copy in ((layout.checkpoint, new.checkpoint), (layout.trust_root, new.trust_root)):
                if old.is_file() and not copy.exists():
                    shutil.copyfile(old, copy)
                if copy.exists():
                    files.sync(copy)
            left_out = isolated(_rebuild, source, new.ledgers / source.name, None if signed is None else signed.size)
            report = fsck(new.root)
            for directory in (new.ledgers, new.root):
                files.sync(directory)
            new.root.rename(target)
            files.sync(target.parent)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY) and os.path.lexists(target):  # another copy was faster
                raise UsageError(_TAKEN.format(target)) from None
            raise files.os_failure(error, target, "copying the chain") from None
        undo.pop_all()
    return replace(report, directory=target / "ledger" / source.name), left_out


def _rebuild(source: Path, destination: Path, size_max: int | None) -> int:
    """Append stored blocks to a new store, which computes indexes and tree from them; returns how many are left out."""
    from scichain_wf.ledger.prepared import prepared
    from scichain_wf.ledger.store import ChainStore
    from scichain_wf.model.block import Block

    there = _read(source, _size)
    size = there if size_max is None else min(there, size_max)
    destination.parent.mkdir(parents=True)
    store: ChainStore | None = None
    try:
        for start in range(0, size, _CHUNK):
            records = _read(source, partial(_records, heights=range(start, min(start + _CHUNK, size))))
            if store is None:
                store = ChainStore.create(destination, Block.decode(records.pop(0)[1]))
            with store.begin() as batch:
                for stored, data, certificate in records:
                    link = Link.decode(stored)
                    appended = batch.append(
                        prepared(Block.decode(data)),
                        mode=link.mode,
                        certificate=certificate,
                        epoch=link.epoch,
                        annotations=link.annotations,
                        writer=link.writer,
                        time_us=link.time_us,
                    )
                    if appended.encode() != stored:
                        raise LedgerCorrupt(
                            f"link {link.height} does not follow from what is stored before it; it cannot be rebuilt"
                        )
    finally:
        if store is not None:
            store.close()
    return there - size


def _read(source: Path, function: Callable[[RawLedger], T]) -> T:
    """Read of one moment; read again where the writer reused the pages meanwhile."""
    for _ in range(limits.READ_ATTEMPTS_MAX):
        ledger = RawLedger(source)
        try:
            with told_apart(ledger):
                found = function(ledger)
            if not ledger.is_reused():
                return found
        except LedgerBusy:
            continue
        finally:
            ledger.close()
    raise LedgerBusy(f"{source} is written faster than it can be read; copy it when less is going on")


def _size(ledger: RawLedger) -> int:
    read_format(ledger)
    last = ledger.last_key(keys.LINKS)
    if last is None or len(last) != keys.U64.size:
        raise LedgerCorrupt(f"{ledger.path} holds no link, or one without a height; it cannot be rebuilt")
    return cast("int", keys.U64.unpack(last)[0]) + 1


def _records(ledger: RawLedger, heights: range) -> list[tuple[bytes, bytes, bytes | None]]:
    return [_record(ledger, height) for height in heights]


def _record(ledger: RawLedger, height: int) -> tuple[bytes, bytes, bytes | None]:
    key = keys.height_key(height)
    link, block = ledger.get(keys.LINKS, key), ledger.get(keys.BLOCKS, key)
    if link is None or block is None:
        raise LedgerCorrupt(f"height {height} has no {'link' if link is None else 'block'}; it cannot be rebuilt")
    return link, block, ledger.get(keys.CERTIFICATES, key)
