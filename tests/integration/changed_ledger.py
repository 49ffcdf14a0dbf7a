"""A writable copy of a chain: entries changed behind the store's back, and put right again."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import lmdb

from scichain_wf.ledger import keys, rawread
from scichain_wf.ledger.layout import ChainLayout


class Edit(NamedTuple):
    """One entry to be: its database, key, and value (None: gone)."""

    database: str
    key: bytes
    value: bytes | None


@dataclass
class Mutation:
    """What is changed, where it shows, and which indexes change their number of entries."""

    kind: str
    edits: list[Edit]
    heights: list[int]
    scans: list[str] = field(default_factory=list)
    checkpoint: bytes | None = None


class Ledger:
    """A writable copy of a chain, changed and put right again. Never synced: it is thrown away."""

    def __init__(self, layout: ChainLayout) -> None:
        self.layout, self.directory = layout, layout.live_ledger()
        self._environment: Any = None
        self._dbs: dict[str, Any] = {}
        with self._writing() as (txn, dbs):
            self.size = cast("int", txn.stat(dbs[keys.LINKS])["entries"])

    def get(self, database: str, key: bytes) -> bytes | None:
        """An entry's value."""
        with self._writing() as (txn, dbs):
            value: bytes | None = txn.get(key, db=dbs[database])
        return value

    def pick(self, database: str, rng: random.Random) -> tuple[bytes, bytes]:
        """A random entry, near a random key."""
        with self._writing() as (txn, dbs), txn.cursor(db=dbs[database]) as cursor:
            cursor.first()
            first = cursor.key()
            cursor.last()
            last = cursor.key()
            low, high = int.from_bytes(first[:16].ljust(16, b"\0")), int.from_bytes(last[:16].ljust(16, b"\0"))
            wanted = rng.randint(low, high).to_bytes(16)
            if not cursor.set_range(wanted[: max(1, len(first))] + rng.randbytes(12)):
                cursor.last()
            for _ in range(rng.randrange(20)):
                if not cursor.next():
                    cursor.first()
            return bytes(cursor.key()), bytes(cursor.value())

    def apply(self, edits: list[Edit]) -> list[Edit]:
        """Make the edits; returns those that undo them."""
        undo = []
        with self._writing(write=True) as (txn, dbs):
            for edit in edits:
                undo.append(Edit(edit.database, edit.key, txn.get(edit.key, db=dbs[edit.database])))
                if edit.value is None:
                    txn.delete(edit.key, db=dbs[edit.database])
                else:
                    txn.put(edit.key, edit.value, db=dbs[edit.database])
        return undo[::-1]

    def close(self) -> None:
        """Let go of the file, so that the auditor can open it: a process may open it once."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None

    @contextmanager
    def _writing(self, *, write: bool = False) -> Iterator[tuple[Any, dict[str, Any]]]:
        if self._environment is None:
            rawread.release()
            self._environment = lmdb.open(
                os.fsdecode(self.directory),
                map_size=1 << 32,
                max_dbs=16,
                lock=False,
                sync=False,
                metasync=False,
                create=False,
                lib_version=0,
            )
            self._dbs = {name: self._environment.open_db(name.encode(), create=False) for name in keys.DATABASES}
        with self._environment.begin(write=write) as txn:
            yield txn, self._dbs


@contextmanager
def applied(ledger: Ledger, mutation: Mutation) -> Iterator[None]:
    """The chain with the mutation, put right afterwards."""
    undo = ledger.apply(mutation.edits)
    note = ledger.layout.checkpoint.read_bytes()
    if mutation.checkpoint is not None:
        ledger.layout.checkpoint.write_bytes(mutation.checkpoint)
    try:
        yield
    finally:
        ledger.apply(undo)
        ledger.layout.checkpoint.write_bytes(note)
