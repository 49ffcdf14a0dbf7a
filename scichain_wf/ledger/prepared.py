"""A block whose transactions are checked: what validity rules and indexes share, so that nothing is parsed twice."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from scichain_wf.errors import DecodeError
from scichain_wf.model import facts, transaction
from scichain_wf.model.text import digest_text

if TYPE_CHECKING:
    from scichain_wf.model.block import Block
    from scichain_wf.model.canonical import JsonObject
    from scichain_wf.model.facts import Facts


@dataclass(frozen=True)
class PreparedBlock:
    """A block; the id (leaf of the block's tree) and the facts of each transaction. Made by `prepared`."""

    block: Block
    leaves: list[bytes]
    facts: list[Facts]

    @cached_property
    def parsed(self) -> list[JsonObject]:
        """The transactions as checked dictionaries, for the few blocks of which more than facts is asked."""
        return [transaction.parse(data) for data in self.block.transactions]


def prepared(block: Block, known: list[Facts] | None = None) -> PreparedBlock:
    """Check every transaction strictly and hold its chain id against the block's.

    Args:
        block: the block.
        known: the facts of its transactions, where they were read before.

    Raises:
        UnsupportedVersion: a transaction is of a newer schema than this program reads.
        DecodeError: a transaction is not in canonical form or shape, or names another chain; says which one.
    """
    if known is not None:
        return PreparedBlock(block, block.leaves, known)
    chain = digest_text(block.header.chain).encode()
    read, found = facts.read, []
    for index, data in enumerate(block.transactions):
        try:
            one = read(data)
        except DecodeError as error:
            raise type(error)(f"transaction {index} of the block: {error}") from None
        if one[0] != chain:
            other = one[0].decode()
            raise DecodeError(f"transaction {index} of the block is of chain {other}, the block of {chain.decode()}")
        found.append(one)
    return PreparedBlock(block, block.leaves, found)
