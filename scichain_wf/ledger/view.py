"""Reading a chain store: everything is answered from one LMDB transaction, so all answers agree with each other.

All methods read O(log n) pages, except iterators. Bytes are returned as they were stored; what is not bytes was decoded
from them. Bytes that must exist and do not, or that do not decode, are `LedgerCorrupt` with database and height. This
does *not* verify: hashes, signatures and indexes are held against each other by the audit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import lmdb

from scichain_wf.crypto import merkle
from scichain_wf.errors import DecodeError, LedgerCorrupt, LedgerError, UsageError, VerificationError
from scichain_wf.ledger import keys
from scichain_wf.ledger.keys import OUTPUT, POSITION, PROPOSAL, U64, height_key, node_key, successor, uri_key
from scichain_wf.ledger.prepared import PreparedBlock
from scichain_wf.ledger.standing import Standing, Standings
from scichain_wf.model.block import BlockFrame, Header
from scichain_wf.model.link import Annotation, Link, Mark, Mode

if TYPE_CHECKING:
    from lmdb import _Database as Database

    from scichain_wf.ledger.engine import Databases, Transaction


class Located(NamedTuple):
    """A transaction and where it is."""

    id: bytes
    height: int
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls on it


class Version(NamedTuple):
    """One recorded version of an artifact: output `output` of the transaction at (height, index)."""

    height: int
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls on it
    output: int
    digest: bytes | None


class ChainView:
    """Reads over one LMDB transaction. Made by `ChainStore.view`; valid inside that `with` only."""

    def __init__(self, txn: Transaction, databases: Databases, alive: Callable[[], None]) -> None:
        self._txn, self._dbs, self._alive = txn, databases, alive
        self._size = self._count_links()
        self._standings = Standings()

    # --- the chain ----------------------------------------------------------------------------------
    @property
    def size(self) -> int:
        """Number of links."""
        return self._size

    @cached_property
    def chain_id(self) -> bytes:
        """Hash of the genesis link (32 bytes)."""
        return self._must(self._dbs.meta, keys.META_CHAIN, f"{keys.META}: the chain id")

    def head(self) -> Link:
        """The newest link."""
        return self.link(self.size - 1)

    def head_hash(self) -> bytes:
        """Hash of the newest link."""
        return self.tree_node(0, self.size - 1)

    def link_bytes(self, height: int) -> bytes:
        """The link at `height`, as stored.

        Raises:
            UsageError: the chain is shorter.
        """
        self._check_height(height)
        return self._must(self._dbs.links, height_key(height), f"{keys.LINKS}: height {height}")

    def link(self, height: int) -> Link:
        """The link at `height`, decoded; errors as in `link_bytes`."""
        data = self.link_bytes(height)
        try:
            return Link.decode(data)
        except DecodeError as error:
            raise LedgerCorrupt(f"{keys.LINKS}: height {height}: {error}") from None

    def block_bytes(self, height: int) -> bytes:
        """The block at `height`, as stored; errors as in `link_bytes`."""
        return bytes(self._block(height))

    def frame(self, height: int) -> BlockFrame:
        """The block at `height`, split into its parts; errors as in `link_bytes`."""
        return self._frame(height, self.block_bytes(height))

    def header(self, height: int) -> Header:
        """The header of the block at `height`; errors as in `link_bytes`."""
        try:
            return Header.decode(self._frame(height, self._block(height)).header)
        except DecodeError as error:
            raise LedgerCorrupt(f"{keys.BLOCKS}: height {height}: {error}") from None

    def certificate_bytes(self, height: int) -> bytes | None:
        """The certificate at `height`, as stored; None for a link of mode `epoch`; errors as in `link_bytes`."""
        self._check_height(height)
        data = self._get(self._dbs.certificates, height_key(height))
        if data is None and self.link(height).mode is not Mode.EPOCH:
            raise LedgerCorrupt(f"{keys.CERTIFICATES}: height {height} is missing")
        return None if data is None else bytes(data)

    def transaction(self, at: Located | tuple[int, int]) -> bytes:
        """The bytes of one transaction, named by `Located` or (height, index)."""
        height, index = at[-2:]
        frame = self._frame(height, self._block(height))
        if not 0 <= index < frame.count:
            raise UsageError(f"block {height} has {frame.count} transactions, and no number {index}")
        return frame.transaction(index)

    def transaction_path(self, height: int, index: int) -> list[bytes]:
        """Proof that a transaction is in its block (RFC 6962 §2.1.1), under the root of the block's header.

        Raises:
            UsageError: there is no such transaction.
            LedgerCorrupt: the stored transactions do not have the header's root.
        """
        frame = self._frame(height, self._block(height))
        if not 0 <= index < frame.count:
            raise UsageError(f"block {height} has {frame.count} transactions, and no number {index}")
        root = self.header(height).root
        path = self._path_by_subtrees(height, index, frame, root)
        if path is None:
            leaves = [merkle.leaf_hash(frame.transaction(number)) for number in range(frame.count)]
            path = merkle.inclusion_path(leaves, index)
            if merkle.root(leaves) != root:
                raise LedgerCorrupt(f"{keys.BLOCKS}: height {height}: the transactions do not have the header's root")
        return path

    # --- the tree over link hashes ------------------------------------------------------------------
    def tree_node(self, level: int, index: int) -> bytes:
        """Hash of a completed subtree."""
        return self._must(self._dbs.tree, node_key(level, index), f"{keys.TREE}: level {level}, index {index}")

    def root(self, size: int | None = None) -> bytes:
        """Root over the first `size` links (default: all)."""
        return merkle.root_from(self.tree_node, self._tree_size(size))

    def inclusion_path(self, height: int, size: int | None = None) -> list[bytes]:
        """Proof that the link at `height` is in the tree of `size` links (RFC 6962 §2.1.1)."""
        return merkle.inclusion_path_from(self.tree_node, height, self._tree_size(size))

    def consistency_path(self, old: int, new: int | None = None) -> list[bytes]:
        """Proof that the tree of `new` links extends the one of `old` (RFC 6962 §2.1.2)."""
        return merkle.consistency_path_from(self.tree_node, old, self._tree_size(new))

    # --- transactions -------------------------------------------------------------------------------
    def find(self, key: bytes) -> list[Located]:
        """All transactions with this key, in commit order."""
        _check_length(key, 16, "a transaction key")
        found = []
        for name, value in self._scan(self._dbs.transactions, key):
            if len(name) != 48 or len(value) != POSITION.size:
                raise LedgerCorrupt(f"{keys.TRANSACTIONS}: the entry of key {key.hex()} is malformed")
            found.append(Located(name[16:], *POSITION.unpack(value)))
        return sorted(found, key=lambda located: located[1:])

    def contains(self, key: bytes, id: bytes) -> bool:  # noqa: A002 - the record's own word
        """Whether exactly this transaction is committed."""
        return self._get(self._dbs.transactions, key + id) is not None

    def clashes(self, key: bytes, id: bytes) -> bool:  # noqa: A002 - the record's own word
        """Whether another transaction with this key is committed."""
        _check_length(key, 16, "a transaction key")
        return any(name[16:] != id for name, _ in self._scan(self._dbs.transactions, key))

    def repeats(self, prepared: PreparedBlock) -> tuple[Annotation, ...]:
        """The `duplicate` and `key-clash` marks that a link over this block needs if appended now.

        Bytes seen before, in the chain or earlier in the block, are a duplicate and nothing else; a key seen before
        with other bytes only is a clash.
        """
        marks: list[Annotation] = []
        within: dict[bytes, set[bytes]] = {}
        for index, ((_, key, *_), leaf) in enumerate(zip(prepared.facts, prepared.leaves, strict=True)):
            earlier = within.setdefault(key, set())
            if leaf in earlier or self.contains(key, leaf):
                marks.append(Annotation(index, Mark.DUPLICATE))
            elif earlier or self.clashes(key, leaf):
                marks.append(Annotation(index, Mark.KEY_CLASH))
            earlier.add(leaf)
        return tuple(marks)

    # --- artifacts ----------------------------------------------------------------------------------
    def versions(self, uri: str) -> Iterator[Version]:
        """Every recorded version of an artifact, in commit order."""
        prefix = uri_key(uri)
        for name, value in self._scan(self._dbs.artifacts, prefix):
            if len(name) == len(prefix) + OUTPUT.size:  # else it belongs to another URI
                yield _version(name, value)

    def standing(self, uri: str, digest: bytes) -> Standing:
        """What is recorded of the artifact `uri` having `digest` (32 bytes); never `UNKNOWN`."""
        self._alive()
        try:
            with self._txn.cursor(self._dbs.artifacts) as cursor:
                return self._standings.of(cursor, uri_key(uri), digest)
        except lmdb.Error as error:
            raise _unreadable(error) from error

    # --- runs, proposals, epochs --------------------------------------------------------------------
    def run(self, run_id: bytes) -> Iterator[tuple[str, int, int]]:
        """(kind, height, index) of a run's transactions, in commit order."""
        _check_length(run_id, 16, "a run id")
        for name, value in self._scan(self._dbs.runs, run_id):
            if len(name) != 16 + POSITION.size:
                raise LedgerCorrupt(f"{keys.RUNS}: the entry of run {run_id.hex()} is malformed")
            height, index = POSITION.unpack_from(name, 16)
            yield value.decode("ascii", "replace"), height, index

    def runs(self) -> Iterator[bytes]:
        """Ids of all runs, in the order they began; reads one entry per run."""
        start: bytes | None = b""
        while start is not None:
            first = next(self._scan(self._dbs.runs, b"", start), None)
            start = None
            if first is not None:
                yield first[0][:16]
                start = successor(first[0][:16]) or None

    def proposal(self, proposer: bytes, sequence: int) -> tuple[int, bytes] | None:
        """(height, block id) of what a proposer numbered `sequence`, if that was appended."""
        value = self._get(self._dbs.proposals, proposer + height_key(sequence))
        if value is None:
            return None
        if len(value) != PROPOSAL.size:
            raise LedgerCorrupt(f"{keys.PROPOSALS}: the entry of sequence {sequence} is malformed")
        height, block_id = PROPOSAL.unpack(value)
        return height, block_id

    def epoch_at(self, epoch: int) -> int:
        """Height of the link that began `epoch`.

        Raises:
            UsageError: no such epoch has begun.
        """
        value = self._get(self._dbs.epochs, height_key(epoch))
        if value is None:
            raise UsageError(f"epoch {epoch} has not begun on this chain")
        return self._epoch(height_key(epoch), bytes(value))[1]

    def current_epoch(self) -> tuple[int, int]:
        """(epoch, height) of the newest epoch."""
        last = next(self._scan_backwards(self._dbs.epochs, b""), None)
        if last is None:
            raise LedgerCorrupt(f"{keys.EPOCHS}: empty")
        return self._epoch(*last)

    # --- inside -------------------------------------------------------------------------------------
    def _count_links(self) -> int:
        count = self._txn.stat(self._dbs.links)["entries"]
        last = next(self._scan_backwards(self._dbs.links, b""), None)
        expected = height_key(count - 1) if count else None
        if (last and last[0]) != expected:
            raise LedgerCorrupt(f"{keys.LINKS}: {count} entries, and the last is not height {count - 1}")
        return count

    def _epoch(self, name: bytes, value: bytes) -> tuple[int, int]:
        if len(name) != U64.size or len(value) != U64.size:
            raise LedgerCorrupt(f"{keys.EPOCHS}: an entry is malformed")
        return U64.unpack(name)[0], U64.unpack(value)[0]

    def _block(self, height: int) -> memoryview:
        self._check_height(height)
        data = self._get(self._dbs.blocks, height_key(height))
        if data is None:
            raise LedgerCorrupt(f"{keys.BLOCKS}: height {height} is missing")
        return data

    def _frame(self, height: int, data: bytes | memoryview) -> BlockFrame:
        try:
            return BlockFrame.of(data)
        except DecodeError as error:
            raise LedgerCorrupt(f"{keys.BLOCKS}: height {height}: {error}") from None

    def _path_by_subtrees(self, height: int, index: int, frame: BlockFrame, root: bytes) -> list[bytes] | None:
        """The path by way of `subtrees`; None where that holds nothing, or nothing that leads to the root."""
        stored = self._get(self._dbs.subtrees, height_key(height))
        number, within = divmod(index, keys.SPAN)
        if stored is None or len(stored) != 32 * -(-frame.count // keys.SPAN):
            return None
        roots = [bytes(stored[at : at + 32]) for at in range(0, len(stored), 32)]
        begin = number * keys.SPAN
        near = range(begin, min(begin + keys.SPAN, frame.count))
        leaves = [merkle.leaf_hash(frame.transaction(other)) for other in near]
        path = merkle.inclusion_path(leaves, within) + merkle.inclusion_path(roots, number)
        try:
            merkle.verify_inclusion(leaves[within], index, frame.count, path, root)
        except VerificationError:
            return None
        return path

    def _check_height(self, height: int) -> None:
        if not 0 <= height < self._size:
            raise UsageError(f"height {height} is outside this chain of {self._size} links")

    def _tree_size(self, size: int | None) -> int:
        if size is None:
            return self._size
        if not 0 <= size <= self._size:
            raise UsageError(f"a tree of {size} links is outside this chain of {self._size}")
        return size

    def _get(self, database: Database, key: bytes) -> memoryview | None:
        """Valid until the transaction's next write: callers copy or are done with it at once."""
        self._alive()
        try:
            return self._txn.get(key, db=database)
        except lmdb.Error as error:
            raise _unreadable(error) from error

    def _must(self, database: Database, key: bytes, what: str) -> bytes:
        data = self._get(database, key)
        if data is None:
            raise LedgerCorrupt(f"{what} is missing")
        return bytes(data)

    def _scan(self, database: Database, prefix: bytes, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Entries that begin with `prefix`, from `start` (default: the first) upwards."""
        self._alive()
        try:
            with self._txn.cursor(database) as cursor:
                found = cursor.set_range(start or prefix)
                while found:
                    key = bytes(cursor.key())
                    if not key.startswith(prefix):
                        return
                    yield key, bytes(cursor.value())
                    self._alive()
                    found = cursor.next()
        except lmdb.Error as error:
            raise _unreadable(error) from error

    def _scan_backwards(self, database: Database, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Entries that begin with `prefix`, from the last downwards."""
        self._alive()
        after = successor(prefix)
        try:
            with self._txn.cursor(database) as cursor:
                found = cursor.prev() if after and cursor.set_range(after) else cursor.last()
                while found:
                    key = bytes(cursor.key())
                    if not key.startswith(prefix):
                        return
                    yield key, bytes(cursor.value())
                    self._alive()
                    found = cursor.prev()
        except lmdb.Error as error:
            raise _unreadable(error) from error


def _version(name: bytes, value: bytes) -> Version:
    height, index, output = OUTPUT.unpack_from(name, len(name) - OUTPUT.size)
    if len(value) not in (0, 32):
        raise LedgerCorrupt(f"{keys.ARTIFACTS}: the digest of output {output} of ({height}, {index}) is malformed")
    return Version(height, index, output, value or None)


def _check_length(value: bytes, size_bytes: int, what: str) -> None:
    if len(value) != size_bytes:
        raise UsageError(f"{what} has {size_bytes} bytes, not {len(value)}")


def _unreadable(error: lmdb.Error) -> LedgerError:
    damaged = isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError)
    kind = LedgerCorrupt if damaged else LedgerError
    return kind(f"the ledger cannot be read ({error}); verify it, and restore a snapshot if it is damaged")
