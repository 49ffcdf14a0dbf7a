"""A slot that boots again at the worst moment, or says the same thing often, costs others next to nothing."""

from __future__ import annotations

from itertools import count

import pytest

from scichain_wf import limits
from scichain_wf.consensus import events, membership, messages, storage
from scichain_wf.consensus.roster import solution_statement
from scichain_wf.consensus.timing import Timing
from scichain_wf.crypto import merkle, puzzle
from scichain_wf.crypto.hashing import Domain
from scichain_wf.crypto.signing import SigningKey, VerifyKey
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.certificate import Solution
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from scichain_wf.model.link import Link, Mark, Mode
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, VerdictBatch
from tests.builders import signing_key
from tests.unit.consensus.cluster import Cluster, Delivery

BOOTS = count()


def booted(cluster: Cluster, slot: int) -> SigningKey:
    """The slot joins with a new key, which an epoch link binds."""
    build = cluster.builder
    key = signing_key(7, f"boot {next(BOOTS)}")
    token_key = signing_key(1, f"token {slot} {build.epoch.generation}")
    token = membership.issue_token(build.authority, build.chain, build.epoch.generation, slot, token_key)
    join = membership.bind(token, build.chain, key.public, f"node-{slot}")
    cluster.append_epoch(build.epoch_candidate(membership.joined(build.epoch, build.chain, (join,))).block)
    return key


def test_a_helper_that_solves_a_puzzle_and_boots_again_loses_nobody_a_transaction() -> None:
    """Each time the block is dead, and the next one counts as the first. Spec: LIVE-1."""
    cluster = Cluster(3, Settings(mining="race", difficulty=Difficulty("fixed", 1)))
    cluster.hold_mining = True  # a liar can be the fastest
    send, key, boots = cluster._send, cluster.builder.nodes[3], 0

    def solving(delivery: Delivery) -> None:
        nonlocal key, boots
        sender, to, message = delivery
        if to == 3 and isinstance(message, messages.Puzzle):
            nonce = puzzle.solve(message.block, key.public.fingerprint, message.difficulty)
            assert nonce is not None
            signature = key.sign(Domain.PUZZLE, solution_statement(message.block, nonce))
            found = messages.Found(message.block, Solution(key.public.fingerprint, nonce, signature))
            return send((3, sender, found))
        if (sender, to) == (1, 0) and boots <= limits.REDRAFTS_MAX + 1:
            key, boots = booted(cluster, 3), boots + 1
        return send(delivery)

    cluster._send = solving  # type: ignore[method-assign]
    (identity,) = cluster.submit(1, cluster.builder.task("honest"))
    cluster.run(120)
    assert boots > limits.REDRAFTS_MAX
    assert (cluster.nodes[1].settled, cluster.nodes[1].given_up) == ([identity], [])
    assert cluster.storage.dropped["outdated"] > limits.REDRAFTS_MAX


def test_a_slot_that_boots_again_and_again_does_not_move_the_deadline() -> None:
    """Spec: LIVE-1."""
    timing = Timing(deadline_s=0.05, patience_s=0.2)
    cluster = Cluster(3, timing=timing)
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Verdicts)
    (identity,) = cluster.submit(1, cluster.builder.task("honest"))
    end = cluster.now + 5 * timing.patience_s
    while cluster.now < end:
        until = cluster.now + 0.02
        booted(cluster, 3)
        cluster.run(0.02)
        cluster.now = max(cluster.now, until)
    assert cluster.nodes[1].settled == [identity]
    assert "poet" in cluster.modes()


def test_a_block_named_often_in_one_batch_is_counted_twice_and_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two entries convict; the others would only cost time."""
    cluster = Cluster()
    build, verified = cluster.builder, []
    holds = VerifyKey.verify

    def counted(key: VerifyKey, domain: Domain, signature: bytes, data: bytes) -> None:
        verified.append(domain)
        holds(key, domain, signature, data)

    monkeypatch.setattr(VerifyKey, "verify", counted)
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Verdicts)
    cluster.submit(1, build.task("a"))
    cluster.run(0.06)
    (identity,) = cluster.nodes[1].agent._author.blocks
    verdicts = (Entry(identity, Verdict.VALID), Entry(identity, Verdict.INVALID, bytes(32)))
    entries = verdicts * (limits.VERDICTS_PER_BATCH_MAX // 2)
    root = merkle.root([entry.leaf() for entry in entries])
    verified.clear()
    for number in range(9, 12):
        header = BatchHeader(
            build.chain, build.epoch.epoch, 2, number, build.head, build.height, len(entries), root
        )
        batch = VerdictBatch(header, build.nodes[2].sign(Domain.VERDICT_BATCH, header.encode()), entries)
        cluster.feed(1, events.VerdictsReceived(2, batch))
    assert verified == [Domain.VERDICT_BATCH] * 2


def test_the_worst_block_fits_a_link() -> None:
    """Every transaction contested and unresolved, with reasons as long and as many as are kept. Spec: LIVE-1."""
    cluster = Cluster()
    build = cluster.builder
    names = [f"{number}{'x' * 190}" for number in range(limits.REASONS_PER_ANNOTATION_MAX + 1)]
    cluster.submit(2, build.task("makes", outputs=[build.artifact(name, b"one") for name in names]))
    cluster.run()

    def short(name: str, content: bytes) -> dict[str, object]:
        return {key: value for key, value in build.artifact(name, content).items() if key != "size_bytes"}

    contested = [short(name, b"two") for name in names]
    unresolved = [short(f"u{name}", b"z") | {"unresolved": True} for name in names]
    tasks = [build.task("t", [*contested, *unresolved]) for _ in range(limits.BLOCK_TRANSACTIONS_MAX)]  # type: ignore[list-item]
    block = build.block(3, tasks)
    (commit,) = cluster.storage.step(
        events.Extended(3, prepared(block), build.solution(block), (), "deadline"), cluster.now
    )
    assert isinstance(commit, storage.Commit)
    decision = cluster.storage.decide(commit.candidates[0], cluster.chain)
    assert isinstance(decision, storage.Append)
    assert len(decision.annotations) == 2 * limits.BLOCK_TRANSACTIONS_MAX
    link = Link(9, bytes(32), block.id, bytes(32), Mode.POET, decision.epoch, decision.annotations, 1, 1)
    assert limits.LINK_BYTES_MAX // 2 < len(link.encode()) <= limits.LINK_BYTES_MAX
    assert {mark.mark for mark in decision.annotations} == {Mark.CONTESTED, Mark.UNRESOLVED}
