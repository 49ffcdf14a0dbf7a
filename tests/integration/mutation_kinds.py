"""The kinds of mutation: each makes one at random for a given ledger."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import orjson

from scichain_wf.crypto import merkle
from scichain_wf.ledger import keys
from scichain_wf.ledger.indexes import place_of
from scichain_wf.model.block import BlockFrame, Header, block_id
from scichain_wf.model.link import Link
from tests.integration.changed_ledger import Edit, Ledger, Mutation

Maker = Callable[[Ledger, random.Random], Mutation]
_INDEXES: Final = (keys.TRANSACTIONS, keys.ARTIFACTS, keys.RUNS, keys.PROPOSALS, keys.EPOCHS)
_BY_HEIGHT: Final = (keys.LINKS, keys.BLOCKS, keys.CERTIFICATES, keys.SUBTREES)


def height_of(database: str, key: bytes, value: bytes) -> int:
    """The height that an untouched entry belongs to."""
    height = place_of(database, key, value)
    if height is None:
        raise AssertionError(f"{database} {key.hex()} belongs to no height")
    return height


def affected(database: str, height: int) -> list[int]:
    """Where an altered entry shows: a link also in the one after it."""
    return [height, height + 1] if database == keys.LINKS else [height]


def _any_database(rng: random.Random) -> str:
    return rng.choice((*_BY_HEIGHT, keys.TREE, *_INDEXES))


def flip_bit(ledger: Ledger, rng: random.Random) -> Mutation:
    """One bit of a value."""
    while True:
        database = _any_database(rng)
        key, value = ledger.pick(database, rng)
        if value:
            changed = bytearray(value)
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            return Mutation(
                f"bit of a value: {database}",
                [Edit(database, key, bytes(changed))],
                affected(database, height_of(database, key, value)),
            )


def resize(ledger: Ledger, rng: random.Random) -> Mutation:
    """A value cut off, or continued."""
    database = _any_database(rng)
    key, value = ledger.pick(database, rng)
    changed = (
        value[: rng.randrange(len(value))]
        if value and rng.random() < 0.5
        else value + rng.randbytes(rng.randint(1, 40))
    )
    return Mutation(
        f"length of a value: {database}",
        [Edit(database, key, changed)],
        affected(database, height_of(database, key, value)),
    )


def exchange(ledger: Ledger, rng: random.Random) -> Mutation:
    """The values of two keys."""
    while True:
        database = rng.choice((*_BY_HEIGHT, keys.TREE, keys.TRANSACTIONS, keys.ARTIFACTS, keys.PROPOSALS))
        (key, value), (other_key, other_value) = ledger.pick(database, rng), ledger.pick(database, rng)
        if value != other_value:
            heights = affected(database, height_of(database, key, value)) + affected(
                database, height_of(database, other_key, other_value)
            )
            edits = [Edit(database, key, other_value), Edit(database, other_key, value)]
            return Mutation(f"two values exchanged: {database}", edits, heights)


def remove(ledger: Ledger, rng: random.Random) -> Mutation:
    """An entry."""
    database = _any_database(rng)
    key, value = ledger.pick(database, rng)
    return Mutation(
        f"entry removed: {database}",
        [Edit(database, key, None)],
        affected(database, height_of(database, key, value)),
        [database],
    )


def insert(ledger: Ledger, rng: random.Random) -> Mutation:
    """An entry that follows from nothing."""
    while True:
        database = rng.choice((*_INDEXES, keys.TREE, keys.SUBTREES, keys.CERTIFICATES, keys.META))
        key, value = ledger.pick(database, rng)
        changed = bytearray(key)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        if ledger.get(database, bytes(changed)) is None:
            return Mutation(
                f"entry inserted: {database}",
                [Edit(database, bytes(changed), value)],
                [],
                [] if database == keys.META else [database],
            )


def rekey(ledger: Ledger, rng: random.Random) -> Mutation:
    """An entry under another key."""
    while True:
        database = _any_database(rng)
        key, value = ledger.pick(database, rng)
        changed = bytearray(key)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        if ledger.get(database, bytes(changed)) is None:
            edits = [Edit(database, key, None), Edit(database, bytes(changed), value)]
            return Mutation(
                f"entry under another key: {database}",
                edits,
                affected(database, height_of(database, key, value)),
                [database],
            )


def edit_field(ledger: Ledger, rng: random.Random) -> Mutation:
    """A field of a record, changed to another value of its type and written canonically."""
    what = rng.choice(("link", "header", "certificate", "transaction", "transaction"))
    while True:
        height = rng.randrange(ledger.size)
        key = keys.height_key(height)
        database = {"link": keys.LINKS, "certificate": keys.CERTIFICATES}.get(what, keys.BLOCKS)
        value = ledger.get(database, key)
        if value is None:
            continue
        if database != keys.BLOCKS:
            changed = _edited(value, rng)
            return Mutation(f"field of a {what}", [Edit(database, key, changed)], affected(database, height))
        frame = BlockFrame.of(value)
        parts = [frame.transaction(index) for index in range(frame.count)]
        header = bytes(frame.header)
        if what == "header":
            header = _edited(header, rng)
        else:
            index = rng.randrange(len(parts))
            parts[index] = _edited(parts[index], rng)
        return Mutation(
            f"field of a {what}", [Edit(database, key, framed(header, bytes(frame.signature), parts))], [height]
        )


def reorder(ledger: Ledger, rng: random.Random) -> Mutation:
    """The transactions of a block: two exchanged, one dropped, or one repeated."""
    while True:
        height = rng.randrange(ledger.size)
        frame = BlockFrame.of(cast("bytes", ledger.get(keys.BLOCKS, keys.height_key(height))))
        parts = [frame.transaction(index) for index in range(frame.count)]
        if len(parts) < 3:
            continue
        first, second = rng.sample(range(len(parts)), 2)
        how = rng.choice(("exchanged", "dropped", "repeated"))
        if how == "exchanged":
            parts[first], parts[second] = parts[second], parts[first]
        elif how == "dropped":
            del parts[first]
        else:
            parts.insert(first, parts[second])
        changed = framed(bytes(frame.header), bytes(frame.signature), parts)
        return Mutation(
            f"transactions of a block: {how}", [Edit(keys.BLOCKS, keys.height_key(height), changed)], [height]
        )


def forge(ledger: Ledger, rng: random.Random) -> Mutation:
    """A task's output digest, with block, header, link, all links after it, tree and every index made to agree.

    Everything but signatures: what who holds no key can do.
    """
    while True:
        height = rng.randrange(max(3, ledger.size - 100), ledger.size)  # so that few links follow
        frame = BlockFrame.of(cast("bytes", ledger.get(keys.BLOCKS, keys.height_key(height))))
        parts = [frame.transaction(index) for index in range(frame.count)]
        index = rng.randrange(len(parts))
        value = orjson.loads(parts[index])
        if value["kind"] == "task":
            break
    old_leaf = merkle.leaf_hash(parts[index])
    output = value["body"]["outputs"][0]
    output["digest"] = f"sha256:{rng.randbytes(32).hex()}"
    parts[index] = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    leaves = [merkle.leaf_hash(part) for part in parts]
    header_value = orjson.loads(bytes(frame.header)) | {"root": f"sha256:{merkle.root(leaves).hex()}"}
    header = orjson.dumps(header_value, option=orjson.OPT_SORT_KEYS)
    place, key = keys.POSITION.pack(height, index), bytes.fromhex(value["key"])
    made = Header.decode(header)
    spans = [merkle.root(leaves[start : start + keys.SPAN]) for start in range(0, len(leaves), keys.SPAN)]
    edits = [
        Edit(keys.BLOCKS, keys.height_key(height), framed(header, bytes(frame.signature), parts)),
        Edit(keys.TRANSACTIONS, key + old_leaf, None),
        Edit(keys.TRANSACTIONS, key + leaves[index], place),
        Edit(
            keys.ARTIFACTS,
            keys.uri_key(output["uri"]) + keys.OUTPUT.pack(height, index, 0),
            bytes.fromhex(output["digest"][7:]),
        ),
        Edit(
            keys.PROPOSALS, made.proposer + keys.U64.pack(made.sequence), keys.PROPOSAL.pack(height, block_id(header))
        ),
    ]
    if len(spans) > 1:
        edits.append(Edit(keys.SUBTREES, keys.height_key(height), b"".join(spans)))
    edits += relinked(ledger, height, block_id(header))
    return Mutation("forged without keys, everything else made to agree", edits, [height])


def relinked(ledger: Ledger, height: int, block: bytes) -> list[Edit]:
    """The link at `height` naming another block, and every link and tree node after it made to agree."""
    edits: list[Edit] = []
    leaves: dict[int, bytes] = {}
    previous = b""
    for at in range(height, ledger.size):
        link = orjson.loads(cast("bytes", ledger.get(keys.LINKS, keys.height_key(at))))
        if at == height:
            link["block"] = f"sha256:{block.hex()}"
        else:
            link["previous"] = f"sha256:{previous.hex()}"
        data = orjson.dumps(link, option=orjson.OPT_SORT_KEYS)
        Link.decode(data)
        edits.append(Edit(keys.LINKS, keys.height_key(at), data))
        previous = leaves[at] = merkle.leaf_hash(data)
    level, nodes = 0, leaves
    while nodes:
        edits += [Edit(keys.TREE, keys.node_key(level, index), node) for index, node in nodes.items()]
        above = {}
        for index in {index >> 1 for index in nodes}:
            left = nodes.get(2 * index) or ledger.get(keys.TREE, keys.node_key(level, 2 * index))
            right = nodes.get(2 * index + 1) or ledger.get(keys.TREE, keys.node_key(level, 2 * index + 1))
            if (2 * index + 2) << level <= ledger.size and left and right:
                above[index] = merkle.node_hash(left, right)
        level, nodes = level + 1, above
    return edits


def meta(ledger: Ledger, rng: random.Random) -> Mutation:
    """The ledger's own statement of chain id or format."""
    key, value = ledger.pick(keys.META, rng)
    changed = bytearray(value)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return Mutation("meta", [Edit(keys.META, key, bytes(changed))], [])


def checkpoint(ledger: Ledger, rng: random.Random) -> Mutation:
    """One byte of the checkpoint's file."""
    data = bytearray(ledger.layout.checkpoint.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return Mutation("byte of the checkpoint", [], [], checkpoint=bytes(data))


MAKERS: Final[tuple[tuple[int, Maker], ...]] = (
    (26, flip_bit),
    (10, resize),
    (10, exchange),
    (8, remove),
    (6, insert),
    (6, rekey),
    (22, edit_field),
    (8, reorder),
    (2, forge),
    (1, meta),
    (1, checkpoint),
)
"""Kinds and their weights."""


def framed(header: bytes, signature: bytes, transactions: list[bytes]) -> bytes:
    """A block's bytes; nothing is checked."""
    lengths = b"".join(len(part).to_bytes(4) for part in transactions)
    return b"".join((len(header).to_bytes(4), header, signature, len(transactions).to_bytes(4), lengths, *transactions))


def _edited(record: bytes, rng: random.Random) -> bytes:
    """One leaf of a JSON record changed to another value of its type; canonical again."""
    while True:
        value = orjson.loads(record)
        places = list(_leaves(value))
        holder, key = rng.choice(places)
        holder[key] = _other(holder[key], rng)
        changed = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        if changed != record:
            return changed


def _leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, dict | list) and item:
            yield from _leaves(item)
        else:
            yield value, key


def _other(value: Any, rng: random.Random) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + rng.choice((-1, 1, 1_000))
    if isinstance(value, str) and value:
        place = rng.randrange(len(value))
        return value[:place] + rng.choice("0123456789abcdef") + value[place + 1 :]
    return rng.choice((None, 0, "x", [], {}))
