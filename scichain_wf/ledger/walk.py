"""The structural walk: every link, block, tree node and index entry recomputed from stored bytes.

One height after another, nothing is taken from a neighbour but what was hashed here, so heights are checked in any
order and in any process:

1. the link is canonical, has its height, and holds the hash of the bytes of the link before it;
2. the block's framing, header, count and root hold, and its id is the link's;
3. every transaction is canonical, of its kind's schema, and of this chain;
4. the certificate's digest is the link's (there is none for mode `epoch`);
5. the link's hash is its leaf of the tree, and every subtree that it completes is the hash of its two halves;
6. every index entry that follows from the block is there, with the value that follows;
7. a repeated transaction is marked as duplicate, and only a repeated one is; likewise for clashing keys.

`scan` reads an index in order and counts it. All of (6) found, keys strictly ascending and no more entries than
expected together say that an index *equals* the one rebuilt from the blocks: nothing missing, altered or surplus.

Who signed what, and whether they may, is the auditor's: it looks at each block through `Visit`.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from scichain_wf.crypto import merkle
from scichain_wf.errors import DecodeError, LedgerCorrupt, UnsupportedVersion
from scichain_wf.ledger import keys
from scichain_wf.ledger.indexes import check_clash, check_indexes, entries_of, place_of
from scichain_wf.ledger.problem import Problem, Problems
from scichain_wf.ledger.rawread import RawLedger, read_format, shared, told_apart
from scichain_wf.ledger.stored import StoredBlock, Survey, Walked
from scichain_wf.model import facts
from scichain_wf.model.block import BlockFrame, Header, block_id
from scichain_wf.model.certificate import certificate_digest
from scichain_wf.model.facts import Facts
from scichain_wf.model.link import Link, Mark, Mode
from scichain_wf.model.text import ZERO_DIGEST, digest_text

INDEXES: Final = tuple(name for name in keys.DATABASES if name not in (keys.META, keys.LINKS))
"""What is compared by count besides the links themselves."""
_HEIGHTS_KEPT: Final = 16


Visit: TypeAlias = Callable[[RawLedger, Survey, StoredBlock, Walked], None]
"""A further check of each block: a module-level function; what it wants to keep goes to `RawLedger.state`."""


def survey(directory: Path) -> Survey:
    """Open a ledger and look at its outline: format, chain, heights without gaps, epochs.

    Raises:
        LedgerError, LedgerCorrupt, UnsupportedVersion: it cannot be opened, is no ledger, or is of a newer format.
        LedgerBusy: it is being written.
    """
    with told_apart(shared(directory, None)) as ledger:
        read_format(ledger)
        problems = Problems()
        chain = ledger.get(keys.META, keys.META_CHAIN) or b""
        for key, value in ledger.entries(keys.META):
            if key not in (keys.META_FORMAT, keys.META_CHAIN):
                problems.add(Problem("index-surplus", "meta", "", value.hex(), key=f"meta {key.hex()}"))
        for name in ledger.surplus_names():
            problems.add(Problem("index-surplus", "the list of databases", key=name.hex()))
        size = _heights(ledger, problems)
        first = ledger.link_hash(0)
        if size == 0 or first is None:
            raise LedgerCorrupt(f"{ledger.path} holds no genesis link: the ledger is empty or was altered")
        if chain != first:
            problems.add(Problem("meta-chain", "meta", first.hex(), chain.hex(), key="meta chain"))
        return Survey(directory, ledger.moment, size, first, tuple(_epochs(ledger, problems)), tuple(problems.kept))


def outline(directory: Path) -> Survey:
    """A survey in O(log n), for who looks at a few heights only: gaps and order are not looked at.

    Raises:
        LedgerError, LedgerCorrupt, UnsupportedVersion: as in `survey`.
    """
    with told_apart(shared(directory, None)) as ledger:
        read_format(ledger)
        last, first = ledger.last_key(keys.LINKS), ledger.link_hash(0)
        if last is None or len(last) != keys.U64.size or first is None:
            raise LedgerCorrupt(f"{ledger.path} holds no genesis link: the ledger is empty or was altered")
        epochs = tuple(_epochs(ledger, Problems()))
        return Survey(directory, ledger.moment, keys.U64.unpack(last)[0] + 1, first, epochs)


def walk(summary: Survey, heights: Sequence[int], visit: Visit | None = None) -> Walked:
    """Check some heights.

    Args:
        summary: of the same ledger.
        heights: which.
        visit: called for every block whose structure is sound enough to be looked at.

    Raises:
        LedgerError: the ledger was written since the survey.
    """
    ledger = shared(summary.directory, summary.moment)
    found = Walked()
    with _no_collector():
        for height in heights:
            try:
                block = _height(ledger, summary, height, found)
                if block is not None and visit is not None:
                    visit(ledger, summary, block, found)
            except UnsupportedVersion as error:
                found.problems.add(Problem("newer-version", f"height {height}", "", str(error), height))
            except LedgerCorrupt as error:
                found.problems.add(Problem("unreadable", f"height {height}", "", str(error), height))
    return found


@contextmanager
def _no_collector() -> Iterator[None]:
    """Parsed records hold no cycles, and the collector would walk thousands of them again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def scan(summary: Survey, database: str) -> Walked:
    """Read one database in order: its count lands in `entries`, keys that do not ascend are problems."""
    ledger = shared(summary.directory, summary.moment)
    found, last, count = Walked(), b"", 0
    clashing = database == keys.TRANSACTIONS
    group: list[bytes] = []
    try:
        for key, _ in ledger.entries(database, values=False):
            count += 1
            if key <= last:
                found.problems.add(
                    Problem(
                        "index-order",
                        database,
                        "ascending keys",
                        f"{last.hex()}, then {key.hex()}",
                        key=f"{database} {key.hex()}",
                    )
                )
                break
            if clashing and key[:16] == last[:16] and (not group or group[-1] != key[:16]):
                group.append(key[:16])
            last = key
        for key in group:
            check_clash(ledger, key, found.problems)
    except LedgerCorrupt as error:
        found.problems.add(Problem("unreadable", f"database {database}", "", str(error)))
    found.entries[database] = count
    return found


def surplus(summary: Survey, database: str) -> Problems:
    """Name the entries of a database that follow from no block; only asked for when the counts differ."""
    ledger = shared(summary.directory, summary.moment)
    problems = Problems()
    known: OrderedDict[int, frozenset[tuple[str, bytes]]] = OrderedDict()
    for key, value in ledger.entries(database):
        height = place_of(database, key, value)
        if height is not None and height < summary.size:
            entries = known.get(height)
            if entries is None:
                entries = known[height] = _keys_of(ledger, summary, height)
                if len(known) > _HEIGHTS_KEPT:
                    known.popitem(last=False)
            if (database, key) in entries:
                continue
        problems.add(Problem("index-surplus", database, "", value.hex(), height, key=f"{database} {key.hex()}"))
    return problems


def _keys_of(ledger: RawLedger, summary: Survey, height: int) -> frozenset[tuple[str, bytes]]:
    """(database, key) of everything that must exist because of one height."""
    entries = {(keys.LINKS, keys.height_key(height)), (keys.BLOCKS, keys.height_key(height))}
    level, index = 0, height
    entries.add((keys.TREE, keys.node_key(level, index)))
    while index & 1:
        level, index = level + 1, index >> 1
        entries.add((keys.TREE, keys.node_key(level, index)))
    scratch = Walked()
    try:
        link = _link(ledger, height, scratch.problems)
        if link is not None:
            if link.value.certificate is not None:
                entries.add((keys.CERTIFICATES, keys.height_key(height)))
            block = _block(ledger, summary, link.value, b"", scratch.problems)
            if block is not None:
                for database, pairs in entries_of(block).items():
                    entries.update((database, key) for key, _ in pairs)
    except DecodeError:
        pass  # named where the height is walked
    return frozenset(entries)


# --- one height -------------------------------------------------------------------------------------
def _height(ledger: RawLedger, summary: Survey, height: int, found: Walked) -> StoredBlock | None:
    problems = found.problems
    link = _link(ledger, height, problems)
    if link is None:
        return None
    found.counts["links"] += 1
    link_hash = merkle.leaf_hash(link.data)
    _tree(ledger, height, link_hash, problems)
    block = _block(ledger, summary, link.value, link_hash, problems)
    certificate = _certificate(ledger, link.value, found)
    if block is None:
        return None
    block.certificate = certificate
    found.counts["transactions"] += len(block.facts)
    found.counts[f"transactions-{link.value.mode}"] += len(block.facts)
    check_indexes(ledger, block, found)
    return block


@dataclass(frozen=True, slots=True)
class _LinkBytes:
    data: bytes
    value: Link


def _link(ledger: RawLedger, height: int, problems: Problems) -> _LinkBytes | None:
    where = f"link {height}"
    data = ledger.get(keys.LINKS, keys.height_key(height))
    if data is None:
        problems.add(Problem("link-missing", where, height=height))
        return None
    before = ledger.link_hash(height - 1) if height else ZERO_DIGEST
    try:
        link = Link.decode(data)
    except UnsupportedVersion:
        raise
    except DecodeError as error:
        problems.add(Problem("link-form", where, "", str(error), height))
        return None
    if link.height != height:
        problems.add(Problem("link-height", where, str(height), str(link.height), height))
    if link.previous != before:
        problems.add(Problem("link-previous", where, (before or b"").hex(), link.previous.hex(), height))
    return _LinkBytes(data, link)


def _tree(ledger: RawLedger, height: int, link_hash: bytes, problems: Problems) -> None:
    """The leaf, and every subtree this height completes."""
    level, index, expected = 0, height, link_hash
    while True:
        stored = ledger.node(level, index)
        if stored != expected:
            problems.add(
                Problem(
                    "tree-node",
                    f"tree node {level}/{index}",
                    expected.hex(),
                    stored.hex(),
                    height,
                    key=f"tree {level}/{index}",
                )
            )
        if not index & 1:
            return
        expected = merkle.node_hash(ledger.node(level, index - 1), stored)
        level, index = level + 1, index >> 1


def _block(ledger: RawLedger, summary: Survey, link: Link, link_hash: bytes, problems: Problems) -> StoredBlock | None:
    height = link.height
    where = f"block at height {height}"
    data = ledger.block(height)
    if data is None:
        problems.add(Problem("block-missing", where, height=height))
        return None
    try:
        frame = BlockFrame.of(data)
        header_bytes = bytes(frame.header)
        header = Header.decode(header_bytes)
    except UnsupportedVersion:
        raise
    except DecodeError as error:
        problems.add(Problem("block-form", where, "", str(error), height))
        return None
    identity = block_id(header_bytes)
    if identity != link.block:
        problems.add(Problem("block-id", where, link.block.hex(), identity.hex(), height))
    if header.count != frame.count:
        problems.add(Problem("block-count", where, str(header.count), str(frame.count), height))
    transactions = frame.transactions()
    leaves = merkle.leaf_hashes(transactions)
    spans = [merkle.root(leaves[start : start + keys.SPAN]) for start in range(0, len(leaves), keys.SPAN)]
    root = merkle.root(spans)  # a span is a power of two, so this is the root over the leaves
    if root != header.root:
        problems.add(Problem("block-root", where, header.root.hex(), root.hex(), height))
    known = _facts(transactions, digest_text(summary.chain if height else ZERO_DIGEST), height, problems)
    if known is None:
        return None
    marks = {mark: frozenset(a.index for a in link.annotations if a.mark is mark) for mark in Mark}
    for annotation in link.annotations:
        if annotation.index >= frame.count:
            problems.add(
                Problem("annotation-index", f"link {height}", f"below {frame.count}", str(annotation.index), height)
            )
    return StoredBlock(
        height,
        link,
        link_hash,
        header,
        header_bytes,
        bytes(frame.signature),
        identity,
        transactions,
        leaves,
        spans,
        known,
        None,
        marks,
    )


def _facts(transactions: list[bytes], chain: str, height: int, problems: Problems) -> list[Facts] | None:
    known, read, spelled = [], facts.read, chain.encode()
    sound = True
    for index, data in enumerate(transactions):
        try:
            one = read(data)
        except UnsupportedVersion:
            raise
        except DecodeError as error:
            problems.add(
                Problem("transaction-form", f"transaction {index} at height {height}", "", str(error), height, index)
            )
            sound = False
            continue
        if one[0] != spelled:
            found = one[0].decode()
            problems.add(
                Problem("transaction-chain", f"transaction {index} at height {height}", chain, found, height, index)
            )
        known.append(one)
    return known if sound else None


def _certificate(ledger: RawLedger, link: Link, found: Walked) -> bytes | None:
    where = f"certificate at height {link.height}"
    data = ledger.get(keys.CERTIFICATES, keys.height_key(link.height))
    if link.mode is not Mode.EPOCH:
        found.entries[keys.CERTIFICATES] += 1
    if link.certificate is None:
        if data is not None:
            found.problems.add(Problem("certificate-surplus", where, height=link.height))
        return None
    if data is None:
        found.problems.add(Problem("certificate-missing", where, link.certificate.hex(), height=link.height))
        return None
    digest = certificate_digest(data)
    if digest != link.certificate:
        found.problems.add(Problem("certificate-digest", where, link.certificate.hex(), digest.hex(), link.height))
        return None
    return data


# --- outline ----------------------------------------------------------------------------------------
def _heights(ledger: RawLedger, problems: Problems) -> int:
    """Number of links; a gap or a key that is no height is a problem."""
    count = 0
    for key, _ in ledger.entries(keys.LINKS, values=False):
        if key != keys.height_key(count):
            problems.add(Problem("link-missing", f"link {count}", keys.height_key(count).hex(), key.hex(), count))
            break
        count += 1
    return count


def _epochs(ledger: RawLedger, problems: Problems) -> Iterator[tuple[int, int]]:
    last = -1
    for number, (key, value) in enumerate(ledger.entries(keys.EPOCHS)):
        if key != keys.U64.pack(number) or len(value) != keys.U64.size or keys.U64.unpack(value)[0] <= last:
            problems.add(
                Problem(
                    "epoch-order",
                    f"epoch {number}",
                    "epochs that ascend by one, at ascending heights",
                    f"{key.hex()} -> {value.hex()}",
                    key=f"epochs {key.hex()}",
                )
            )
            return
        last = keys.U64.unpack(value)[0]
        yield number, last
