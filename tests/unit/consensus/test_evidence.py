"""What one honest key cannot have signed twice becomes a transaction, once, whoever reports it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from scichain_wf import limits
from scichain_wf.consensus import events, evidence, messages
from scichain_wf.consensus.timing import Timing
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain
from scichain_wf.crypto.merkle import leaf_hash
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model import canonical, transaction
from scichain_wf.model.block import Block
from scichain_wf.model.text import digest_bytes
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, VerdictBatch, Vote
from tests.builders import ChainBuilder
from tests.unit.consensus.cluster import Cluster
from tests.unit.consensus.kit import roster_of


def twins(build: ChainBuilder, slot: int) -> tuple[Block, Block]:
    """Two blocks of one sequence number."""
    first = build.block(slot, [build.task("a")])
    build.sequences[slot] -= 1
    return first, build.block(slot, [build.task("b")])


def contradiction(build: ChainBuilder, slot: int, block: Block) -> tuple[VerdictBatch, VerdictBatch]:
    """VALID and INVALID on one block, at one head."""
    valid, invalid = build.vote(slot, block), build.vote(slot, block, Verdict.INVALID, bytes(32))
    return batch_of(valid), batch_of(invalid)


def batch_of(vote: Vote) -> VerdictBatch:
    return VerdictBatch(vote.header, vote.signature, (vote.entry,))


def evidence_on(cluster: Cluster) -> list[dict[str, Any]]:
    """Every `evidence` transaction of the chain."""
    blocks = [cluster.chain.blocks[link.block] for link in cluster.links()]
    return [dict(value) for block in blocks for value in block.parsed if value["kind"] == "evidence"]


def test_whoever_reports_a_pair_makes_the_same_transaction() -> None:
    build = Cluster().builder
    one, two = (evidence.header_statement(block) for block in twins(build, 3))
    record = evidence.of(build.chain, "header", one, two)
    assert evidence.of(build.chain, "header", two, one).encode() == record.encode()
    assert evidence.of(build.chain, "verdict", one, two).key != record.key


def test_two_headers_of_one_sequence_are_reported_once_and_can_be_verified() -> None:
    """A liar shows each validator one block first and the other later."""
    cluster = Cluster(5)
    blocks = [prepared(block) for block in twins(cluster.builder, 3)]
    for slot in (1, 2, 4, 5):
        for block in blocks if slot % 2 else blocks[::-1]:
            cluster.feed(slot, events.ProposalReceived(3, block))
            cluster.feed(slot, events.ProposalReceived(slot % 5 + 1, block))  # passed on by another, again
    cluster.run(Timing().deadline_s * 6)
    (value,) = evidence_on(cluster)
    body = value["body"]
    assert body["about"] == "header"
    key = cluster.builder.nodes[3].public
    stated = set()
    for statement in body["statements"]:
        key.verify(Domain.BLOCK, bytes.fromhex(statement["signature"]), statement["bytes"].encode())
        stated.add(statement["bytes"].encode())
    assert stated == {block.block.header_bytes for block in blocks}
    assert not cluster.marks()
    assert all(not node.settled for node in cluster.nodes.values())  # nobody had submitted it
    assert cluster.modes() == ["quorum"]


def test_who_sits_after_the_liar_reports_first_and_the_next_where_that_one_is_gone() -> None:
    for gone, delay_s in (((), 0.0), ((4,), Timing().deadline_s), ((4, 5), 2 * Timing().deadline_s)):
        cluster = Cluster(5)
        cluster.kill(*gone)
        started = cluster.now
        for block in twins(cluster.builder, 3):
            for slot in {1, 2, 4, 5} - {*gone}:
                cluster.feed(slot, events.ProposalReceived(3, prepared(block)))
        while not evidence_on(cluster):
            cluster.run(0.1)
            cluster.now += 0.1
        assert delay_s <= cluster.now - started < delay_s + 1


def test_valid_and_invalid_at_one_head_are_reported_with_what_verifies_them() -> None:
    cluster = Cluster()
    build = cluster.builder
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Verdicts)
    cluster.submit(1, build.task("a"))
    cluster.run(0.5)
    (proposal,) = cluster.nodes[1].agent._author.blocks.values()
    block = proposal.block.block
    for batch in contradiction(build, 3, block):
        cluster.feed(1, events.VerdictsReceived(3, batch))
        cluster.feed(1, events.VerdictsReceived(3, batch))
    cluster.lose = lambda _: False
    cluster.run()
    (value,) = evidence_on(cluster)
    body = value["body"]
    assert body["about"] == "verdict"
    verdicts = set()
    for statement in body["statements"]:
        cited = canonical.parse(statement["bytes"].encode(), limits.TEXT_CHARS_MAX)
        assert isinstance(cited, dict)
        vote = Vote.from_value({**cited, "signature": statement["signature"]}, digest_bytes(str(cited["block"])))
        vote.verify(build.nodes[3].public)
        assert vote.entry.block == block.id
        verdicts.add(vote.entry.verdict)
    assert verdicts == {Verdict.VALID, Verdict.INVALID}


def test_each_slot_that_contradicts_itself_is_reported() -> None:
    build = Cluster().builder
    witness, block = evidence.Witness(build.chain, 1, 1.0), build.block(1, [build.task("a")])
    for liar in (2, 3, 2):
        valid, invalid = (batch.vote(0) for batch in contradiction(build, liar, block))
        witness.compare(None, valid, roster_of(build), 0.0)
        witness.compare(valid, invalid, roster_of(build), 0.0)
    assert len(witness.ripe(Cluster().chain, 9.0)) == 2


def test_both_in_one_batch_are_noticed_too() -> None:
    cluster = Cluster()
    build = cluster.builder
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Verdicts)
    cluster.submit(1, build.task("a"))
    cluster.run(0.5)
    (identity,) = cluster.nodes[1].agent._author.blocks
    entries = (Entry(identity, Verdict.VALID), Entry(identity, Verdict.INVALID, bytes(32)))
    root = merkle.root([entry.leaf() for entry in entries])
    header = BatchHeader(build.chain, build.epoch.epoch, 2, 9, build.head, build.height, 2, root)
    batch = VerdictBatch(header, build.nodes[2].sign(Domain.VERDICT_BATCH, header.encode()), entries)
    cluster.feed(1, events.VerdictsReceived(2, batch))
    cluster.lose = lambda _: False
    cluster.run()
    assert len(evidence_on(cluster)) == 1


def test_what_an_honest_validator_may_say_is_no_evidence() -> None:
    """Spec: HONEST-1."""
    build = Cluster().builder
    key = build.nodes[3].public
    block, other = build.block(1, [build.task("a")]), build.block(1, [build.task("b")])
    valid, invalid = build.vote(3, block), build.vote(3, block, Verdict.INVALID, bytes(32))
    assert evidence.contradict(valid, invalid, key)
    later = replace(invalid, header=replace(invalid.header, head=bytes(32)))
    unknown = build.vote(3, block, Verdict.UNKNOWN)
    elsewhere = build.vote(3, other, Verdict.INVALID, bytes(32))
    forged = replace(invalid, signature=bytes(64))
    misplaced = replace(valid, index=3)
    pairs = ((valid, later), (unknown, invalid), (valid, elsewhere), (valid, forged), (misplaced, invalid))
    for first, second in pairs:
        assert not evidence.contradict(first, second, key)
        assert not evidence.contradict(second, first, key)


def test_evidence_that_is_refused_again_and_again_is_let_go_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REDRAFTS_MAX", 0)
    cluster = Cluster()
    cluster.lose = lambda delivery: delivery[1] == 0
    for block in twins(cluster.builder, 3):
        cluster.feed(1, events.ProposalReceived(3, prepared(block)))
    cluster.run(0.5)
    (identity,) = cluster.nodes[1].agent._author.blocks
    cluster.feed(1, events.Answered(messages.Answer(identity, "refused")))
    assert [cluster.nodes[1].agent.in_flight, cluster.nodes[1].given_up] == [0, []]


def test_what_a_witness_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEADERS_REMEMBERED_MAX", 2)
    monkeypatch.setattr(limits, "EVIDENCE_REMEMBERED_MAX", 2)
    cluster = Cluster()
    build = cluster.builder
    witness = evidence.Witness(build.chain, 1, 1.0)
    pairs = [twins(build, 3) for _ in range(3)]
    for first, _ in pairs:
        assert witness.second_header(first) is None
    assert [witness.second_header(second) is not None for _, second in reversed(pairs)] == [True, True, False]
    statements = [tuple(map(evidence.header_statement, pair)) for pair in pairs]
    for key, pair in zip((b"1", b"2", b"3", b"1"), (*statements, statements[0]), strict=True):
        witness.report("header", pair, 3, key, 3, 0.0)  # type: ignore[arg-type]
    assert witness.next_time() == 0.0
    assert len(witness.ripe(cluster.chain, 0.0)) == 2
    assert witness.next_time() is None
    for key, pair in zip((b"2", b"3"), statements[1:], strict=True):
        witness.report("header", pair, 3, key, 3, 0.0)  # type: ignore[arg-type]
    assert len(witness.ripe(cluster.chain, 5.0)) == 1  # the other one is remembered


def test_one_pair_of_a_key_is_enough() -> None:
    """Else two processes with one key, which make two blocks of every number, would be reported without end."""
    build = Cluster().builder
    witness = evidence.Witness(build.chain, 1, 1.0)
    pairs = [tuple(map(evidence.header_statement, twins(build, 3))) for _ in range(3)]
    witness.report("header", pairs[0], 3, b"key", 3, 0.0)  # type: ignore[arg-type]
    witness.report("header", pairs[1], 3, b"key", 3, 0.0)  # type: ignore[arg-type]
    witness.report("header", pairs[2], 3, b"new key", 3, 0.0)  # type: ignore[arg-type]
    witness.report("verdict", pairs[1], 3, b"key", 3, 0.0)  # type: ignore[arg-type]
    assert len(witness.ripe(Cluster().chain, 0.0)) == 3


def test_what_is_committed_meanwhile_is_not_drafted() -> None:
    cluster = Cluster()
    build = cluster.builder
    witness = evidence.Witness(build.chain, 1, 1.0)
    first, second = (evidence.header_statement(block) for block in twins(build, 3))
    witness.report("header", (first, second), 2, b"key", 3, 0.0)
    data = evidence.of(build.chain, "header", first, second).encode()
    assert witness.next_time() == 1.0
    assert witness.ripe(cluster.chain, 0.5) == []
    cluster.chain.ids[bytes.fromhex(str(transaction.parse(data)["key"]))] = {leaf_hash(data)}
    assert witness.ripe(cluster.chain, 1.0) == []
    assert witness.next_time() is None


def test_evidence_is_a_record_like_any_other() -> None:
    build = Cluster().builder
    block = build.block(1, [build.task("a")])
    votes = (build.vote(3, block), build.vote(3, block, Verdict.INVALID, bytes(32)))
    record = evidence.of(build.chain, "verdict", *(evidence.vote_statement(vote) for vote in votes))
    value = json.loads(record.encode())
    assert transaction.parse(record.encode()) == value
    assert [value["time_us"], value["host"], value["run"]] == [0, "-", "0" * 32]
