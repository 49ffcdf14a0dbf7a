"""Every byte of a small chain, altered: is each change that alters a read result found, and no other?

Many flips run in one forked child, which writes where it is to shared memory: when a flip kills it, the parent
counts that flip as what it is (the auditor proper reads in children of its own) and forks again after it.

Pure functions are remembered by their whole input, so that a flip costs a few milliseconds; nothing else is changed.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import lmdb
import orjson

from scichain_wf.audit.chain import verify_on
from scichain_wf.audit.result import Verdict
from scichain_wf.crypto.signing import VerifyKey
from scichain_wf.errors import ScichainError
from scichain_wf.ledger import keys, rawread
from scichain_wf.ledger.isolate import Inline
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.model import certificate, transaction
from scichain_wf.model.block import Header
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.epoch import Epoch
from scichain_wf.model.link import Link

FOUND: Final = frozenset({Verdict.FAILED, Verdict.INCOMPLETE})
_STATE = struct.Struct("<QQ")
_DUMPING, _VERIFYING = 1, 2

Flip = tuple[int, int]
"""(offset, mask to xor)"""


@dataclass
class Table:
    """What flips came to. `missed` and `alarms` must stay empty."""

    counts: Counter[str] = field(default_factory=Counter)
    missed: list[Flip] = field(default_factory=list)
    alarms: list[Flip] = field(default_factory=list)

    def merge(self, other: Table) -> None:
        """Add another's."""
        self.counts.update(other.counts)
        self.missed += other.missed
        self.alarms += other.alarms

    def note(self, flip: Flip, *, altered: bool, found: bool) -> None:
        """One flip's outcome."""
        if altered:
            self.counts["altered, found" if found else "altered, NOT FOUND"] += 1
            if not found:
                self.missed.append(flip)
        else:
            self.counts["not altered, NAMED" if found else "not altered, verified"] += 1
            if found:
                self.alarms.append(flip)


def dump(directory: Path) -> bytes:
    """Digest of everything that can be read: every entry of every database, in order and by key.

    Raises:
        lmdb.Error: it cannot be read.
    """
    state = hashlib.sha256()
    size_bytes = (directory / "data.mdb").stat().st_size
    with lmdb.open(
        os.fsdecode(directory), readonly=True, lock=False, create=False, max_dbs=16, map_size=size_bytes, lib_version=0
    ) as env:
        handles = [env.open_db(name.encode(), create=False) for name in keys.DATABASES]
        with env.begin() as txn:
            with txn.cursor() as cursor:
                for key in cursor.iternext(keys=True, values=False):
                    state.update(key + b"\0")
            for handle in handles:
                with txn.cursor(db=handle) as cursor:
                    for key, value in cursor:
                        state.update(struct.pack("<II", len(key), len(value)) + key + value)
                        other = txn.get(key, db=handle)
                        state.update(b"=" if other == value else b"?" + (other or b"-"))
                state.update(b"|")
    return state.digest()


def verified(layout: ChainLayout) -> bool:
    """Whether verification, in this process, has nothing to object to."""
    try:
        result = verify_on(Inline(), layout, layout.live_ledger(), None, None)
    except ScichainError:
        return False
    finally:
        rawread.release()
    return result.verdict not in FOUND


def remember_pure_functions() -> None:
    """For a child that verifies the same chain thousands of times; every answer depends on its arguments only."""
    VerifyKey.is_valid_raw = lru_cache(100_000)(VerifyKey.is_valid_raw)  # type: ignore[method-assign]
    transaction.parse = lru_cache(1_000)(transaction.parse)
    certificate.decode = lru_cache(1_000)(certificate.decode)
    for record in (Link, Header):
        record.decode = lru_cache(1_000)(record.decode)  # type: ignore[method-assign, assignment]
    known: dict[bytes, Epoch] = {}
    read = Epoch.from_body

    def from_body(body: JsonObject) -> Epoch:
        spelled = orjson.dumps(body)
        if spelled not in known:
            known[spelled] = read(body)
        return known[spelled]

    Epoch.from_body = from_body  # type: ignore[method-assign]


def flips_of(size_bytes: int) -> Iterator[Flip]:
    """Two flips of every byte: all bits, and one."""
    for offset in range(size_bytes):
        yield offset, 0xFF
        yield offset, 1 << offset % 8


def run_flips(
    layout: ChainLayout, file: Path, flips: Iterable[Flip], progress: Callable[[int], None] = lambda _: None
) -> Table:
    """Apply each flip alone to `file` (of the chain, or its data file), judge, and put the byte back."""
    original = file.read_bytes()
    table = Table()
    wanted = list(flips)
    base = dump(layout.live_ledger())
    shared = mmap.mmap(-1, _STATE.size)
    position = 0
    while position < len(wanted):
        shared[:] = _STATE.pack(position, 0)
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read_end)
            _child(layout, file, wanted, position, base, shared, write_end)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as answers:
            outcomes = answers.read()
        _, status = os.waitpid(child, 0)
        for number, answer in enumerate(outcomes):
            table.note(wanted[position + number], altered=bool(answer & 1), found=bool(answer & 2))
        position += len(outcomes)
        if status != 0:  # the flip at `position` killed it; reading was altered then, and the auditor's child dies too
            table.counts["reader killed"] += 1
            table.note(wanted[position], altered=True, found=True)
            position += 1
        _restore(file, original)
        progress(position)
    return table


def _child(
    layout: ChainLayout, file: Path, flips: list[Flip], start: int, base: bytes, shared: mmap.mmap, answers: int
) -> None:
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)  # LMDB's assertions and the fault handler would fill the screen
    try:
        remember_pure_functions()
        descriptor = os.open(file, os.O_RDWR)
        for number in range(start, len(flips)):
            offset, mask = flips[number]
            before = os.pread(descriptor, 1, offset)
            os.pwrite(descriptor, bytes([before[0] ^ mask]), offset)
            shared[:] = _STATE.pack(number, _DUMPING)
            altered = file.name != "data.mdb" or _altered(layout, base)
            shared[:] = _STATE.pack(number, _VERIFYING)
            found = not verified(layout)
            os.pwrite(descriptor, before, offset)
            os.write(answers, bytes([altered | found << 1]))
    except BaseException:  # noqa: BLE001 - whatever it is, it must not run on as a second test session
        sys.__stdout__.flush() if sys.__stdout__ else None
        os._exit(99)
    os._exit(0)


def _altered(layout: ChainLayout, base: bytes) -> bool:
    try:
        return dump(layout.live_ledger()) != base
    except lmdb.Error:
        return True


def _restore(file: Path, original: bytes) -> None:
    with file.open("r+b") as handle:
        handle.write(original)
        handle.truncate()


def describe(table: Table) -> list[tuple[str, Any]]:
    """Rows for people."""
    return sorted(table.counts.items())
