"""Blocks parsed once."""

from __future__ import annotations

import pytest

from scichain_wf.errors import DecodeError, UnsupportedVersion
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.bodies import Kind
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from scichain_wf.model.text import digest_text
from scichain_wf.model.transaction import NO_RUN, Transaction
from tests.builders import ChainBuilder


@pytest.fixture
def builder() -> ChainBuilder:
    return ChainBuilder(1, 3, Settings(difficulty=Difficulty(value=0)))


def test_a_prepared_block_has_every_transaction_parsed_with_id_and_entry(builder: ChainBuilder) -> None:
    out, unhashed = builder.artifact("a", b"1"), builder.artifact("b")
    task = builder.task("t", [], [out, unhashed])
    note = builder.transaction(Kind.NOTE, {"text": "n"}, NO_RUN)
    block = prepared(builder.block(1, [task, note]))
    assert block.leaves == [task.id, note.id]
    assert [value["kind"] for value in block.parsed] == ["task", "note"]
    digest = bytes.fromhex(str(out["digest"])[7:])
    chain = digest_text(builder.chain).encode()
    outputs = [(str(out["uri"]).encode(), digest), (str(unhashed["uri"]).encode(), b"")]
    assert block.facts == [
        (chain, task.key, builder.run, b"task", [], outputs),
        (chain, note.key, NO_RUN, b"note", [], []),
    ]


def test_a_block_whose_facts_are_known_is_not_read_again(builder: ChainBuilder) -> None:
    block = builder.block(1, [builder.task("t")])
    known = prepared(block).facts
    assert prepared(block, known).facts is known
    assert prepared(block, known) == prepared(block)


def test_a_genesis_can_be_prepared(builder: ChainBuilder) -> None:
    assert prepared(builder.genesis).facts[0][3] == b"epoch"


def test_a_transaction_that_does_not_parse_is_named(builder: ChainBuilder) -> None:
    block = builder.block(1, [builder.task("t"), b'{"kind":"task"}'])
    with pytest.raises(DecodeError, match="transaction 1 of the block: "):
        prepared(block)


def test_a_transaction_of_a_newer_schema_keeps_its_error_class(builder: ChainBuilder) -> None:
    data = builder.task("t").encode().replace(b'"version":1}', b'"version":2}')
    with pytest.raises(UnsupportedVersion, match="transaction 0 of the block: "):
        prepared(builder.block(1, [data]))


def test_a_transaction_of_another_chain_is_refused(builder: ChainBuilder) -> None:
    good = builder.task("t")
    other = Transaction(bytes([7]) * 32, builder.key(), good.kind, good.run, good.host, good.time_us, good.body)
    with pytest.raises(DecodeError, match="transaction 1 of the block is of chain sha256:0707"):
        prepared(builder.block(1, [good, other]))
