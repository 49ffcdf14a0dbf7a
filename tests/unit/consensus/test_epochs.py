"""Blocks in flight while the membership changes: votes of two epochs do not add up, and that costs no deadline."""

from __future__ import annotations

import pytest

from scichain_wf import limits
from scichain_wf.consensus import events, membership, messages
from scichain_wf.model import certificate
from scichain_wf.model.certificate import PoetCertificate
from tests.unit.consensus.cluster import Cluster


def test_a_certificate_of_an_epoch_that_is_over_is_made_anew() -> None:
    """Votes of two epochs do not add up; the block is proposed again and needs no extension. Spec: SAFE-4, LIVE-2."""
    cluster = Cluster()
    cluster.hold_commits = True
    (identity,) = cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1)
    before = cluster.commits[0].candidates[0]
    cluster.restart(3)
    cluster.hold_commits = False
    cluster.run()
    assert cluster.modes() == ["quorum"]
    (link,) = cluster.links()
    assert [link.block, link.epoch] == [before.block.block.id, before.block.block.header.epoch + 1]
    found = certificate.decode(cluster.certificates[link.height] or b"")
    assert {vote.header.epoch for vote in found.votes} == {link.epoch}
    assert cluster.nodes[1].settled == [identity]


def test_a_block_that_waits_for_votes_when_the_epoch_changes_gets_them_under_the_new_one() -> None:
    """Votes that came before it do not count, and nobody waits for the deadline. Spec: SAFE-4, LIVE-2."""
    cluster = Cluster()
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Verdicts)
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(0.5)
    assert cluster.modes() == []
    cluster.lose = lambda _: False
    started = cluster.now
    cluster.restart(3)
    cluster.run(1)
    assert cluster.modes() == ["quorum"]
    assert cluster.now - started < 1


def test_a_validator_that_hears_of_the_epoch_after_the_proposal_votes_under_it_all_the_same() -> None:
    """The proposer may be the first to know. Spec: LIVE-2."""
    cluster = Cluster()
    held: list[tuple[int, int, object]] = []
    cluster.lose = lambda delivery: isinstance(delivery[2], messages.Verdicts)
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(0.5)

    def late(delivery: tuple[int, int, object]) -> bool:
        slow = delivery[1] == 2 and isinstance(delivery[2], events.CommittedReceived)
        if slow:
            held.append(delivery)
        return slow

    cluster.lose = late
    cluster.restart(3)
    cluster.run(0.5)
    assert cluster.modes() == []
    assert cluster.nodes[1].agent.dropped["wrong epoch"] >= 1
    cluster.lose = lambda _: False
    cluster.network.extend(held)
    cluster.run(0.5)
    assert cluster.modes() == ["quorum"]


def test_a_block_of_an_epoch_that_a_validator_does_not_know_is_judged_when_it_does() -> None:
    """At the start of a run every node hears of the epoch at another time. Spec: LIVE-2."""
    cluster = Cluster(2)
    held: list[tuple[int, int, object]] = []

    def late(delivery: tuple[int, int, object]) -> bool:
        slow = delivery[1] == 2 and isinstance(delivery[2], events.CommittedReceived)
        if slow:
            held.append(delivery)
        return slow

    cluster.lose = late
    epoch = membership.joined(cluster.builder.epoch, cluster.builder.chain, ())
    cluster.append_epoch(cluster.builder.epoch_candidate(epoch).block)
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(0.5)
    assert cluster.modes() == []
    cluster.lose = lambda _: False
    cluster.network.extend(held)
    cluster.run(0.5)
    assert cluster.modes() == ["quorum"]


def test_certificates_that_are_always_too_old_are_extended_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded: a proposer that never hears of the epoch has storage decide. Spec: LIVE-1."""
    monkeypatch.setattr(limits, "REPROPOSALS_MAX", 2)
    cluster = Cluster()
    cluster.hold_commits = True
    cluster.submit(1, cluster.builder.task("a"))
    cluster.run(1)
    cluster.lose = lambda delivery: isinstance(delivery[2], events.CommittedReceived)
    cluster.restart(3)
    cluster.hold_commits = False
    cluster.run()
    assert cluster.modes() == ["poet"]
    found = certificate.decode(cluster.certificates[cluster.links()[0].height] or b"")
    assert isinstance(found, PoetCertificate)
    assert found.reason == "bad-votes"
    assert "do not hold" in cluster.nodes[1].notes[0]
