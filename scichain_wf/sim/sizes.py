"""How many bytes a message has on the wire, without encoding each: records of one shape are equally long."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from scichain_wf.consensus import messages
from scichain_wf.model import canonical

if TYPE_CHECKING:
    from scichain_wf.model.block import Block
    from scichain_wf.model.verdict import BatchHeader, VerdictBatch, Vote

_PARTS: Final = 12
"""Count and lengths before a message of two parts (`messages.pack`)."""
_SHAPES_MAX: Final = 65_536
_shapes: dict[tuple[object, ...], int] = {}


def size_bytes(message: Any) -> int:
    """Length of the payload. What is not a message of the protocol says itself how long it is."""
    match message:
        case messages.Propose(block):
            return block_bytes(block)
        case messages.Verdicts(batch):
            return _batch_bytes(batch)
        case messages.Push(block, certificate):
            first = len(replace(certificate, votes=certificate.votes[:1]).encode())
            return _PARTS + first + sum(1 + _vote_bytes(vote) for vote in certificate.votes[1:]) + block_bytes(block)
        case messages.Extend(block):
            first = len(replace(message, votes=message.votes[:1]).encode())
            return first + sum(1 + _vote_bytes(vote) for vote in message.votes[1:])
        case messages.Committed(link, block):
            return _PARTS + len(link.encode()) + (0 if block is None else block_bytes(block))
        case messages.Answer() | messages.Sync() | messages.Puzzle() | messages.Found():
            return len(message.encode())
    return int(message.size_bytes)


def block_bytes(block: Block) -> int:
    """Length of `block.encode()`."""
    return 4 + len(block.header_bytes) + 64 + 4 + sum(4 + len(data) for data in block.transactions)


def _digits(header: BatchHeader) -> int:
    """Of all its numbers: the only thing in which two headers differ in length."""
    return len(f"{header.epoch}{header.slot}{header.batch}{header.head_height}{header.count}")


def _batch_bytes(batch: VerdictBatch) -> int:
    refused = sum(entry.reasons is not None for entry in batch.entries)
    letters = sum(len(entry.verdict) for entry in batch.entries)
    return _length("batch", (_digits(batch.header), len(batch.entries), refused, letters), batch)


def _vote_bytes(vote: Vote) -> int:
    entry = vote.entry
    shape = _digits(vote.header), len(str(vote.index)), len(vote.path), entry.verdict, entry.reasons is None
    return _length("vote", shape, vote)


def _length(what: str, shape: tuple[object, ...], record: VerdictBatch | Vote) -> int:
    found = _shapes.get((what, *shape))
    if found is None:
        if len(_shapes) >= _SHAPES_MAX:
            _shapes.clear()
        data = canonical.dumps(record.value()) if what == "vote" else record.encode()  # type: ignore[union-attr]
        found = _shapes[what, *shape] = len(data)
    return found
