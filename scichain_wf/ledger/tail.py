"""A node's ledger tail: the newest committed blocks, bounded in bytes, with an index over them. On tmpfs.

What it promises:

- It never holds more than its bytes; the oldest committed blocks go first (`covers_from` is the oldest kept). Only the
  node's *own* uncommitted blocks are pinned. Foreign proposals have a quota per peer and one together.
- What a block that goes has produced stays in a filter (`filter.py`), so `lookup` can still say "new": a miss is
  `NEW` only while the filter covers every block from the genesis to the tail's start, else it is `UNKNOWN`.
- `lookup` never says `NEW` or `OTHER` where the whole chain would say something else (tests hold it against a naive
  model that forgets nothing); `UNKNOWN` leaves it to another node or to storage.

A tail is a copy: losing it costs a synchronisation, never a record. What it does not do: verify. Who appends has
checked link and block against a checkpoint or the storage node's word. One process and one thread use it.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable
from itertools import accumulate, pairwise, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from scichain_wf import limits
from scichain_wf.crypto.hashing import DIGEST_BYTES
from scichain_wf.crypto.merkle import leaf_hash
from scichain_wf.errors import DecodeError, LedgerCorrupt, LedgerError, LedgerFull, UsageError
from scichain_wf.ledger import keys
from scichain_wf.ledger.batch import annotations_of, index_rows
from scichain_wf.ledger.filter import SALT_BYTES, MembershipFilter
from scichain_wf.ledger.keys import OUTPUT, U64, height_key, uri_key
from scichain_wf.ledger.standing import Standing, Standings, clashes
from scichain_wf.ledger.tailfile import NoRoom, TailFile
from scichain_wf.model.block import Block
from scichain_wf.model.link import Link, Mark

if TYPE_CHECKING:
    from scichain_wf.ledger.engine import Transaction
    from scichain_wf.ledger.prepared import PreparedBlock

_INDEXED: Final = "indexed"
"""Height -> `_packed` keys of the block's rows in both indexes, so that it can go without being read once more."""
_OWN: Final = "own"
_HELD: Final = "held"
_COMMITTED: Final = (keys.LINKS, keys.BLOCKS, keys.TRANSACTIONS, keys.ARTIFACTS)
_DATABASES: Final = (keys.META, *_COMMITTED, _INDEXED, _OWN, _HELD)
_TRANSACTION_KEY_BYTES: Final = 16 + DIGEST_BYTES
_META_HEAD: Final = b"head"
_FILTER_FILE: Final = "filter"
_PAGES_BYTES: Final = 16 << 10  # what a write takes beyond its data: pages that are not full
_HELD_SHARE: Final = 4  # foreign proposals together take at most this part of the file, one peer …
_PEER_SHARE: Final = 16  # … at most this part


class Head(NamedTuple):
    """The newest link."""

    height: int
    hash: bytes


class LedgerTail:
    """See the module. Made by `open`."""

    def __init__(self, file: TailFile, filter_bytes_max: int, salt: bytes | None) -> None:
        self._file, self._filter_bytes_max = file, filter_bytes_max
        self._budget = file.bytes_max * 3 // 4  # the rest is room for LMDB's copies
        self._held: dict[bytes, tuple[bytes, int]] = {}  # block id: peer and size
        self._peers: dict[bytes, int] = {}
        self._head, self._first = self._stored()
        self._standings = Standings()
        self._load_filter(salt)

    @classmethod
    def open(cls, directory: Path, bytes_max: int = limits.TAIL_BYTES_DEFAULT, salt: bytes | None = None) -> Self:
        """Open the tail in `directory`, or begin one there.

        Args:
            directory: on tmpfs; made where it is missing.
            bytes_max: what all files in it may take together.
            salt: of a filter that is begun (16 bytes; default: random).

        Raises:
            UsageError: `bytes_max` is below `limits.TAIL_BYTES_MIN`.
            LedgerError: the directory cannot be used.
            LedgerCorrupt: its file is damaged; remove the directory, the node fetches what it held.
        """
        if bytes_max < limits.TAIL_BYTES_MIN:
            raise UsageError(f"a ledger tail needs at least {limits.TAIL_BYTES_MIN} bytes, not {bytes_max}")
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"{directory}: cannot be made ({error.strerror}); check the path") from None
        filter_bytes_max = bytes_max // 8
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        map_bytes = (bytes_max - filter_bytes_max) // page_bytes * page_bytes
        return cls(TailFile(directory, map_bytes, _DATABASES), filter_bytes_max, salt)

    def close(self) -> None:
        """Keep the filter beside the file if it fits there, and release both. Idempotent."""
        path = self._file.directory / _FILTER_FILE
        data = U64.pack(self._filter_to) + self.filter.encode()
        with contextlib.suppress(OSError):  # without one, the next process asks storage for it
            path.unlink(missing_ok=True)
            if len(data) <= self._filter_bytes_max:
                path.write_bytes(data)
        self._file.close()

    # --- the chain ----------------------------------------------------------------------------------
    def head(self) -> Head | None:
        """The newest link appended; None in a tail that was just begun."""
        return self._head

    @property
    def covers_from(self) -> int:
        """Height of the oldest block kept; one above the head where none is."""
        return self._first

    def link(self, height: int) -> Link | None:
        """The link at `height`, or None where it is not kept."""
        data = self._file.get(keys.LINKS, height_key(height))
        return None if data is None else Link.decode(data)

    def link_hash(self, height: int) -> bytes | None:
        """Hash of the link at `height`, or None where it is not known."""
        if self._head is not None and height == self._head.height:
            return self._head.hash
        data = self._file.get(keys.LINKS, height_key(height))
        return None if data is None else leaf_hash(data)

    def block_bytes(self, height: int) -> bytes | None:
        """The block at `height`, or None where it is not kept."""
        return self._file.get(keys.BLOCKS, height_key(height))

    def append(self, link: Link, block: PreparedBlock) -> Head:
        """Append a committed block; old ones make room. An empty tail begins anywhere.

        A block that would not fit even alone is passed over: it counts as kept and evicted at once.

        Raises:
            LedgerError: it does not follow the head, or is about another block; nothing changed.
            LedgerFull: tmpfs has no room left, with nothing left to evict; what was kept before is.
        """
        if self._head is not None and (link.height, link.previous) != (self._head.height + 1, self._head.hash):
            raise LedgerError(f"link {link.height} does not follow link {self._head.height} of this tail; synchronise")
        if link.block != block.block.id:
            raise LedgerError(f"link {link.height} is about another block than the one that came with it; synchronise")
        head, link_bytes, block_bytes = Head(link.height, link.hash), link.encode(), block.block.encode()
        skipped = {annotation.index for annotation in annotations_of(link, Mark.DUPLICATE)}
        transactions, _, artifacts = index_rows(block, link.height, skipped)  # the same as the chain store's
        indexed = _packed([key for key, _ in transactions], [key for key, _ in artifacts])
        held = self._held.get(link.block)

        def change(txn: Transaction) -> None:
            put, height = txn.put, height_key(link.height)
            put(height, link_bytes, db=self._file.db[keys.LINKS])
            put(height, block_bytes, db=self._file.db[keys.BLOCKS])
            put(height, indexed, db=self._file.db[_INDEXED])
            for name, rows in ((keys.TRANSACTIONS, transactions), (keys.ARTIFACTS, artifacts)):
                with txn.cursor(self._file.db[name]) as cursor:
                    cursor.putmulti(sorted(rows))
            if held is not None:
                txn.delete(link.block + held[0], db=self._file.db[_HELD])
            self._put_head(txn, head)

        if self._head is None:
            self._first = head.height
        rows = sum(len(key) + len(value) for key, value in (*transactions, *artifacts))
        needed = len(link_bytes) + len(block_bytes) + len(indexed) + 2 * rows + _PAGES_BYTES
        try:
            self._write(change, needed)
        except LedgerFull:
            self._write(lambda txn: self._put_head(txn, head), 0)
            self._forget(head.height, [key for key, _ in artifacts])
        self._head = head
        self._standings = Standings()  # not so when blocks go: what they recorded stays true
        self._drop_held(link.block)
        return head

    # --- own and foreign blocks that are not committed ----------------------------------------------
    def pin(self, block: Block) -> None:
        """Keep an own block until `unpin`, whatever else must go.

        Raises:
            LedgerFull: it does not fit beside the blocks pinned already.
        """
        data = block.encode()
        self._write(lambda txn: txn.put(block.id, data, db=self._file.db[_OWN]), len(data) + _PAGES_BYTES)

    def unpin(self, block_id: bytes) -> None:
        """Let an own block go; no error where it is not pinned."""
        self._write(lambda txn: txn.delete(block_id, db=self._file.db[_OWN]), 0)

    def pinned(self) -> list[Block]:
        """The own blocks kept, also by the process before this one."""
        cursor = self._file.cursor(_OWN)
        found = cursor.iternext(keys=False, values=True) if cursor.first() else ()
        return [Block.decode(bytes(data)) for data in found]

    def hold(self, peer: bytes, block: Block) -> bool:
        """Keep a foreign proposal; False where the peer's quota, or that of all, is used up or there is no room."""
        if block.id in self._held:
            return True
        data = block.encode()
        used, total = self._peers.get(peer, 0), sum(self._peers.values())
        size = self._file.bytes_max
        if used + len(data) > size // _PEER_SHARE or total + len(data) > size // _HELD_SHARE:
            return False
        try:
            needed = len(data) + _PAGES_BYTES
            self._write(lambda txn: txn.put(block.id + peer, data, db=self._file.db[_HELD]), needed)
        except LedgerFull:
            return False
        self._count_held(block.id, peer, len(data))
        return True

    def held(self, block_id: bytes) -> Block | None:
        """A foreign proposal, or None where it is not kept."""
        if block_id not in self._held:
            return None
        data = self._file.get(_HELD, block_id + self._held[block_id][0])
        return None if data is None else Block.decode(data)

    def release(self, block_id: bytes) -> None:
        """Let a foreign proposal go; no error where it is not kept."""
        if block_id in self._held:
            peer = self._held[block_id][0]
            self._write(lambda txn: txn.delete(block_id + peer, db=self._file.db[_HELD]), 0)
            self._drop_held(block_id)

    # --- what is known ------------------------------------------------------------------------------
    def lookup(self, uri: str, digest: bytes) -> Standing:
        """What is known of the artifact `uri` having `digest`."""
        key = uri_key(uri)
        seen = self._standings.of(self._file.cursor(keys.ARTIFACTS), key, digest)
        if seen in (Standing.OTHER, Standing.NEW) and (not self.filter_covers or key in self.filter):
            return Standing.UNKNOWN  # a version that went may have had this digest
        return seen

    def contains(self, key: bytes, transaction: bytes) -> bool:
        """Whether the tail holds exactly this transaction."""
        return self._file.get(keys.TRANSACTIONS, key + transaction) is not None

    def clashes(self, key: bytes, transaction: bytes) -> bool:
        """Whether the tail holds another transaction under this key."""
        return clashes(self._file.cursor(keys.TRANSACTIONS), key, transaction)

    # --- the filter ---------------------------------------------------------------------------------
    @property
    def filter_covers(self) -> bool:
        """Whether the filter holds every URI produced before the tail's start."""
        return self._head is not None and self._filter_to >= self._first

    def adopt(self, loaded: MembershipFilter, height: int) -> bool:
        """Take over a filter that storage built: the key of every URI produced by the links below `height`.

        Best is `height == covers_from`: of what a filter covers beyond it, the tail can say `KNOWN` but not `OTHER`.
        False, and nothing changed, where it ends below the tail's start: what lies between would be missing.
        """
        if self._head is None or height < self._first:
            return False
        self.filter, self._filter_to = loaded, height
        return True

    # --- inside -------------------------------------------------------------------------------------
    def _write(self, change: Callable[[Transaction], object], needed_bytes: int) -> None:
        """Write, evicting what must go for it."""
        room = True
        while needed_bytes and room and self._file.live_bytes() + needed_bytes > self._budget:
            room = self._evict()
        while room:
            try:
                self._file.write(change)
            except NoRoom:
                room = self._evict()
            else:
                return
        raise LedgerFull(
            f"{self._file.directory}: no room for {needed_bytes} bytes more, and nothing left to evict; give the tail "
            "more bytes, or free space on tmpfs"
        )

    def _evict(self) -> bool:
        """Let the oldest committed block go; False where there is none."""
        if self._head is None or self._first > self._head.height:
            return False
        height = self._first
        transactions, artifacts = self._indexed(height)

        def change(txn: Transaction) -> None:
            for name in (keys.LINKS, keys.BLOCKS, _INDEXED):
                txn.delete(height_key(height), db=self._file.db[name])
            for name, indexed in ((keys.TRANSACTIONS, transactions), (keys.ARTIFACTS, artifacts)):
                for key in sorted(indexed):
                    txn.delete(key, db=self._file.db[name])

        try:
            self._file.write(change)
        except NoRoom:
            self._evict_all(self._head)
        else:
            self._forget(height, artifacts)
        return True

    def _evict_all(self, head: Head) -> None:
        """Begin the file anew with the own blocks only: not even deleting one block found room."""
        own = self.pinned()
        for height in range(self._first, head.height + 1):
            self._forget(height, self._indexed(height)[1])
        self._file.recreate()
        self._held.clear()
        self._peers.clear()

        def change(txn: Transaction) -> None:
            self._put_head(txn, head)
            for block in own:
                txn.put(block.id, block.encode(), db=self._file.db[_OWN])

        try:
            self._file.write(change)
        except NoRoom:
            where = self._file.directory
            raise LedgerFull(f"{where}: {len(own)} own blocks are in memory only; free space on tmpfs") from None

    def _forget(self, height: int, artifacts: list[bytes]) -> None:
        """What a block produced goes from the index to the filter."""
        for key in artifacts:
            self.filter.add(key[: -OUTPUT.size])
        if self._filter_to == height:
            self._filter_to = height + 1
        self._first = height + 1

    def _indexed(self, height: int) -> tuple[list[bytes], list[bytes]]:
        """Keys in the indexes of transactions and artifacts that come from the block at `height`."""
        data = self._file.get(_INDEXED, height_key(height))
        if data is None:
            where = self._file.directory
            raise LedgerCorrupt(f"{where}: the index of block {height} is missing; remove the directory, start again")
        return _unpacked(data)

    def _put_head(self, txn: Transaction, head: Head) -> None:
        txn.put(_META_HEAD, height_key(head.height) + head.hash, db=self._file.db[keys.META])

    def _count_held(self, block_id: bytes, peer: bytes, size_bytes: int) -> None:
        self._held[block_id] = peer, size_bytes
        self._peers[peer] = self._peers.get(peer, 0) + size_bytes

    def _drop_held(self, block_id: bytes) -> None:
        peer, size_bytes = self._held.pop(block_id, (b"", 0))  # making room may have let all of them go
        if size_bytes:
            self._peers[peer] -= size_bytes

    def _stored(self) -> tuple[Head | None, int]:
        """Head and oldest height in the file; counts the foreign proposals in it."""
        cursor = self._file.cursor(_HELD)
        for key, value in cursor.iternext() if cursor.first() else ():
            self._count_held(bytes(key[:DIGEST_BYTES]), bytes(key[DIGEST_BYTES:]), len(value))
        data = self._file.get(keys.META, _META_HEAD)
        if data is None:
            return None, 0
        head = Head(U64.unpack_from(data)[0], data[U64.size :])
        cursor = self._file.cursor(keys.LINKS)
        return head, U64.unpack(cursor.key())[0] if cursor.first() else head.height + 1

    def _load_filter(self, salt: bytes | None) -> None:
        """The filter kept by `close`, if it still reaches the tail's start; else one that covers nothing."""
        self.filter, self._filter_to = MembershipFilter(salt or os.urandom(SALT_BYTES)), 0
        try:
            data = (self._file.directory / _FILTER_FILE).read_bytes()
            loaded = MembershipFilter.decode(data[U64.size :])
        except (OSError, DecodeError):
            return
        self.adopt(loaded, U64.unpack_from(data)[0])


def _packed(transactions: list[bytes], artifacts: list[bytes]) -> bytes:
    """Keys of both indexes as one byte string."""
    head = struct.pack(f">II{len(artifacts)}H", len(transactions), len(artifacts), *map(len, artifacts))
    return b"".join((head, *transactions, *artifacts))


def _unpacked(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """Inverse of `_packed`."""
    count, others = struct.unpack_from(">II", data)
    lengths = struct.unpack_from(f">{others}H", data, 8)
    ends = list(accumulate((*repeat(_TRANSACTION_KEY_BYTES, count), *lengths), initial=8 + 2 * others))
    found = [data[begin:end] for begin, end in pairwise(ends)]
    return found[:count], found[count:]
