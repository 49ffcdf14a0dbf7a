"""Findings about nodes: contradictions, false accusations, dissent, POET's share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scichain_wf import audit
from scichain_wf.consensus import evidence
from scichain_wf.crypto.hashing import Domain
from scichain_wf.model.block import Block
from scichain_wf.model.transaction import Transaction
from scichain_wf.model.verdict import Verdict
from tests.builders import ChainBuilder
from tests.unit.audit.support import audited, found, started

Make = Callable[[ChainBuilder], Transaction]


def twins(build: ChainBuilder, slot: int = 2) -> tuple[Block, Block]:
    """Two blocks of one sequence number."""
    first = build.block(slot, [build.task("a")])
    build.sequences[slot] -= 1
    return first, build.block(slot, [build.task("b")])


def accused(tmp_path: Path, make: Make) -> dict[str, audit.Finding]:
    with started(tmp_path / ".scichain") as chain:
        chain.block(1, [make(chain.builder)])
        return found(audited(chain))


def by_headers(build: ChainBuilder) -> Transaction:
    first, second = twins(build)
    return evidence.of(build.chain, "header", evidence.header_statement(first), evidence.header_statement(second))


def by_verdicts(build: ChainBuilder) -> Transaction:
    block = build.block(1, [build.task("a")])
    build.sequences[1] -= 1
    votes = build.vote(3, block), build.vote(3, block, Verdict.INVALID, bytes(32))
    return evidence.of(build.chain, "verdict", *map(evidence.vote_statement, votes))


@pytest.mark.parametrize(("make", "slot"), [(by_headers, 2), (by_verdicts, 3)])
def test_node_that_contradicted_itself_is_named(
    tmp_path: Path, make: Make, slot: int
) -> None:
    findings = accused(tmp_path, make)
    assert findings["SC-NODE-001"].actual.startswith(f"slot {slot} ")
    assert "SC-NODE-004" not in findings


def no_contradiction(build: ChainBuilder) -> Transaction:
    first, second = build.block(2, [build.task("a")]), build.block(2, [build.task("b")])
    return evidence.of(build.chain, "header", evidence.header_statement(first), evidence.header_statement(second))


def unsigned(build: ChainBuilder) -> Transaction:
    first, second = twins(build)
    return evidence.of(build.chain, "header", evidence.header_statement(first), (second.header_bytes, bytes(64)))


def somebody_elses(build: ChainBuilder) -> Transaction:
    data = [replace(block.header, proposer=build.storage.public.fingerprint).encode() for block in twins(build)]
    statements = [(item, build.storage.sign(Domain.BLOCK, item)) for item in data]
    return evidence.of(build.chain, "header", *statements)


def twice_the_same(build: ChainBuilder) -> Transaction:
    statement = evidence.header_statement(build.block(2, [build.task("a")]))
    return evidence.of(build.chain, "header", statement, statement)


def twice_valid(build: ChainBuilder) -> Transaction:
    block = build.block(1, [build.task("a")])
    build.sequences[1] -= 1
    return evidence.of(build.chain, "verdict", *(evidence.vote_statement(build.vote(3, block)) for _ in range(2)))


def no_records(build: ChainBuilder) -> Transaction:
    return evidence.of(build.chain, "verdict", (b"[]", bytes(64)), (b"{}", bytes(64)))


def of_no_slot(build: ChainBuilder) -> Transaction:
    made = by_verdicts(build)
    body: Any = made.body
    statements = [
        (item["bytes"].replace('"slot":3', '"slot":9').encode(), bytes.fromhex(item["signature"]))
        for item in body["statements"]
    ]
    return evidence.of(build.chain, "verdict", *statements)


@pytest.mark.parametrize(
    "make", [no_contradiction, unsigned, somebody_elses, twice_the_same, twice_valid, no_records, of_no_slot]
)
def test_false_accusation_convicts_nobody_and_is_named(
    tmp_path: Path, make: Make
) -> None:
    findings = accused(tmp_path, make)
    assert "SC-NODE-001" not in findings
    assert "SC-NODE-004" in findings


@pytest.mark.parametrize(("verdict", "named"), [(Verdict.INVALID, True), (Verdict.UNKNOWN, False)])
def test_dissent_is_counted(tmp_path: Path, verdict: Verdict, named: bool) -> None:
    with started(tmp_path / ".scichain") as chain:
        build = chain.builder
        block = build.block(1, [build.task("a")])
        vote = build.vote(2, block, verdict, bytes(32) if verdict is Verdict.INVALID else None)
        chain.append(build.poet(block, votes=(vote,)))
        assert ("SC-NODE-002" in found(audited(chain))) is named


@pytest.mark.parametrize(("poet", "quorum", "named"), [(6, 4, True), (4, 4, False), (5, 1, False)])
def test_share_of_the_storage_nodes_own_verdicts_is_noted(tmp_path: Path, poet: int, quorum: int, named: bool) -> None:
    with started(tmp_path / ".scichain") as chain:
        build = chain.builder
        for number in range(poet + quorum - 1):  # the run's start came with a quorum
            block = build.block(1, [build.task(f"t{number}")])
            chain.append(build.poet(block) if number < poet else build.quorum(block))
        assert ("SC-NODE-003" in found(audited(chain))) is named
