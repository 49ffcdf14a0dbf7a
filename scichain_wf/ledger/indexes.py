"""Index entries recomputed from blocks, and held against what is stored.

`entries_of` is the definition of every index, written from the layout in `keys` and not from the code that appends.
"""

from __future__ import annotations

import struct
from typing import Final

from scichain_wf import limits
from scichain_wf.crypto import merkle
from scichain_wf.errors import DecodeError
from scichain_wf.ledger import keys
from scichain_wf.ledger.problem import Problem, Problems
from scichain_wf.ledger.rawread import RawLedger
from scichain_wf.ledger.stored import StoredBlock, Walked
from scichain_wf.model.block import BlockFrame, Header
from scichain_wf.model.link import Link, Mark, Mode
from scichain_wf.model.transaction import NO_RUN

_NUMBERS: Final = [struct.pack(">H", number) for number in range(limits.ARTIFACTS_PER_TASK_MAX)]


Entries = dict[str, list[tuple[bytes, bytes]]]
"""(key, value) by database."""


def entries_of(block: StoredBlock) -> Entries:
    """Every index entry that follows from a block."""
    height, skip = block.height, block.marks[Mark.DUPLICATE]
    pack_place, uri_key = keys.POSITION.pack, keys.uri_key
    transactions: list[tuple[bytes, bytes]] = []
    runs: list[tuple[bytes, bytes]] = []
    artifacts: list[tuple[bytes, bytes]] = []
    for index, (leaf, (_, key, run, kind, _, outputs)) in enumerate(zip(block.leaves, block.facts, strict=True)):
        if index in skip:
            continue
        place = pack_place(height, index)
        transactions.append((key + leaf, place))
        if run != NO_RUN:
            runs.append((run + place, kind))
        for (uri, digest), number in zip(outputs, _NUMBERS, strict=False):
            artifacts.append((uri_key(uri) + place + number, digest))
    header, at = block.header, keys.height_key(height)
    proposal = header.proposer + keys.U64.pack(header.sequence), keys.PROPOSAL.pack(height, block.block_id)
    entries = {keys.TRANSACTIONS: transactions, keys.RUNS: runs, keys.ARTIFACTS: artifacts, keys.PROPOSALS: [proposal]}
    if len(block.spans) > 1:
        entries[keys.SUBTREES] = [(at, b"".join(block.spans))]
    if block.link.mode is Mode.EPOCH:
        entries[keys.EPOCHS] = [(keys.U64.pack(block.link.epoch), at)]
    return entries


def place_of(database: str, key: bytes, value: bytes) -> int | None:
    """The height that an entry says it comes from; None where it says nothing that could be one."""
    if database in (keys.LINKS, keys.BLOCKS, keys.CERTIFICATES, keys.SUBTREES):
        return keys.U64.unpack(key)[0] if len(key) == keys.U64.size else None
    if database == keys.TREE:
        return ((key[0] < 64) or None) and ((int.from_bytes(key[1:]) + 1) << key[0]) - 1 if len(key) == 9 else None
    if database == keys.ARTIFACTS:
        return keys.OUTPUT.unpack(key[-keys.OUTPUT.size :])[0] if len(key) > keys.OUTPUT.size else None
    if database == keys.RUNS:
        return keys.POSITION.unpack_from(key, 16)[0] if len(key) == 16 + keys.POSITION.size else None
    return keys.U64.unpack_from(value)[0] if len(value) >= keys.U64.size else None  # transactions, proposals, epochs


def check_indexes(ledger: RawLedger, block: StoredBlock, found: Walked) -> None:
    """Every entry that follows from the block is stored, and its marks of duplicates and clashes are true."""
    for database, pairs in entries_of(block).items():
        found.entries[database] += len(pairs)
        if pairs and ledger.get_many(database, [key for key, _ in pairs]) != pairs:
            for key, value in pairs:
                stored = ledger.get(database, key)
                if stored != value:
                    _altered(ledger, block.height, database, key, value, stored, found.problems)
    for index in block.marks[Mark.DUPLICATE]:
        _duplicate(ledger, block, index, found.problems)
    for index in block.marks[Mark.KEY_CLASH] - block.marks[Mark.DUPLICATE]:
        _marked_clash(ledger, block, index, found.problems)


def _index_of(database: str, key: bytes, value: bytes) -> int | None:
    """The transaction that an entry which should exist is about."""
    if database == keys.TRANSACTIONS:
        return keys.POSITION.unpack(value)[1]  # type: ignore[no-any-return]
    if database == keys.RUNS:
        return keys.POSITION.unpack_from(key, 16)[1]  # type: ignore[no-any-return]
    if database == keys.ARTIFACTS:
        return keys.OUTPUT.unpack(key[-keys.OUTPUT.size :])[1]  # type: ignore[no-any-return]
    return None


def _altered(
    ledger: RawLedger,
    height: int,
    database: str,
    key: bytes,
    value: bytes,
    stored: bytes | None,
    problems: Problems,
) -> None:
    where, index = f"{database} {key.hex()}", _index_of(database, key, value)
    if stored is None:
        problems.add(Problem("index-missing", database, value.hex(), "", height, index, where))
        return
    if database == keys.TRANSACTIONS and len(stored) == keys.POSITION.size:
        other = keys.POSITION.unpack(stored)
        if other != (height, index) and _leaf_at(ledger, *other) == key[16:]:
            problems.add(
                Problem(
                    "transaction-repeated",
                    f"transaction {index} at height {height}",
                    "",
                    f"also at height {other[0]}, transaction {other[1]}",
                    height,
                    index,
                    key[:16].hex(),
                )
            )
            return
    if database == keys.PROPOSALS and len(stored) == keys.PROPOSAL.size and keys.PROPOSAL.unpack(stored)[0] != height:
        other_height = keys.PROPOSAL.unpack(stored)[0]
        other_block = ledger.get(keys.BLOCKS, keys.height_key(other_height))
        if other_block is not None and _proposal_of(other_block) == key:
            problems.add(
                Problem(
                    "proposal-repeated",
                    f"block at height {height}",
                    "",
                    f"also at height {other_height}",
                    height,
                    None,
                    key.hex(),
                )
            )
            return
    problems.add(Problem("index-altered", database, value.hex(), stored.hex(), height, index, where))


def _duplicate(ledger: RawLedger, block: StoredBlock, index: int, problems: Problems) -> None:
    """What is marked as duplicate was there before, with the same bytes."""
    key = block.facts[index][1] + block.leaves[index]
    stored = ledger.get(keys.TRANSACTIONS, key)
    if stored is None or len(stored) != keys.POSITION.size or keys.POSITION.unpack(stored) >= (block.height, index):
        where = f"transaction {index} at height {block.height}"
        problems.add(
            Problem(
                "duplicate-false",
                where,
                "the same transaction earlier on the chain",
                "",
                block.height,
                index,
                key[:16].hex(),
            )
        )


def _marked_clash(ledger: RawLedger, block: StoredBlock, index: int, problems: Problems) -> None:
    """What is marked as a clash of keys has another transaction with its key before it."""
    key = block.facts[index][1]
    place = keys.POSITION.pack(block.height, index)
    if not any(
        found[16:] != block.leaves[index] and stored < place
        for found, stored in ledger.prefixed(keys.TRANSACTIONS, key)
    ):
        where = f"transaction {index} at height {block.height}"
        problems.add(
            Problem(
                "clash-false",
                where,
                "another transaction with this key earlier on the chain",
                "",
                block.height,
                index,
                key.hex(),
            )
        )


def check_clash(ledger: RawLedger, key: bytes, problems: Problems) -> None:
    """Of transactions that share a key, all but the first are marked."""
    places = sorted(
        stored for _, stored in ledger.prefixed(keys.TRANSACTIONS, key) if len(stored) == keys.POSITION.size
    )
    for place in places[1:]:
        height, index = keys.POSITION.unpack(place)
        data = ledger.get(keys.LINKS, keys.height_key(height))
        try:
            annotations = Link.decode(data).annotations if data is not None else ()
        except DecodeError:
            continue  # named where the link is walked
        if not any(a.index == index and a.mark is Mark.KEY_CLASH for a in annotations):
            problems.add(
                Problem("clash-unmarked", f"transaction {index} at height {height}", "", "", height, index, key.hex())
            )


def _leaf_at(ledger: RawLedger, height: int, index: int) -> bytes | None:
    data = ledger.get(keys.BLOCKS, keys.height_key(height))
    try:
        frame = BlockFrame.of(data or b"")
    except DecodeError:
        return None
    return merkle.leaf_hash(frame.transaction(index)) if index < frame.count else None


def _proposal_of(data: bytes) -> bytes | None:
    try:
        header = Header.decode(BlockFrame.of(data).header)
    except DecodeError:
        return None
    return header.proposer + keys.U64.pack(header.sequence)
