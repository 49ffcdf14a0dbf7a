"""A block whose transactions are parsed: what validity rules and the indexes share, so that nothing is parsed twice.

What the indexes need of a transaction is taken out in the same pass, while the parser's dictionary is still in the
processor's cache: doing that later costs several times as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from scichain_wf.errors import DecodeError
from scichain_wf.ledger.keys import uri_key
from scichain_wf.model import transaction
from scichain_wf.model.block import Block
from scichain_wf.model.bodies import Kind
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.text import digest_text
from scichain_wf.model.transaction import NO_RUN

_KINDS: Final = {kind.value: kind.encode("ascii") for kind in Kind}
_NO_RUN_TEXT: Final = NO_RUN.hex()


Entry: TypeAlias = tuple[bytes, bytes, bytes, list[tuple[bytes, bytes]]]
"""What the indexes hold of one transaction: key, run (empty for the zero run, which is not indexed), kind, and URI key
and digest (empty where there is none) of each output of a `task`. A bare tuple: making a named one takes as long as
taking out all of its parts."""


@dataclass(frozen=True, slots=True)
class PreparedBlock:
    """A block; the checked dictionary, the id (leaf of the block's tree) and the index entry of each transaction."""

    block: Block
    parsed: list[JsonObject]
    leaves: list[bytes]
    entries: list[Entry]


def prepared(block: Block) -> PreparedBlock:
    """Parse every transaction strictly and hold its chain id against the block's.

    Raises:
        UnsupportedVersion: a transaction is of a newer schema than this program reads.
        DecodeError: a transaction is not in canonical form or shape, or names another chain; says which one.
    """
    chain = digest_text(block.header.chain)
    parse, parsed, entries = transaction.parse, [], []
    for index, data in enumerate(block.transactions):
        try:
            value = parse(data)
        except DecodeError as error:
            raise type(error)(f"transaction {index} of the block: {error}") from None
        if value["chain"] != chain:
            raise DecodeError(f"transaction {index} of the block is of chain {value['chain']}, the block of {chain}")
        parsed.append(value)
        entries.append(_entry(value))
    return PreparedBlock(block, parsed, block.leaves, entries)


def _entry(value: dict[str, Any]) -> Entry:
    """From a record that its schema has checked, so that no type is in doubt."""
    fromhex, kind, run = bytes.fromhex, value["kind"], value["run"]
    outputs = []
    if kind == "task":
        for item in value["body"]["outputs"]:
            digest = item.get("digest")
            outputs.append((uri_key(item["uri"]), fromhex(digest[7:]) if digest else b""))
    return fromhex(value["key"]), b"" if run == _NO_RUN_TEXT else fromhex(run), _KINDS[kind], outputs
