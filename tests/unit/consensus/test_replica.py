"""Links in any order, with and without their blocks, and a storage node that contradicts itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf import limits
from scichain_wf.consensus import effects, events, messages
from scichain_wf.consensus.agent import Agent
from scichain_wf.consensus.replica import Replica
from scichain_wf.consensus.timing import Timing
from scichain_wf.crypto.merkle import CompactRange
from scichain_wf.errors import VerificationError
from scichain_wf.ledger.prepared import PreparedBlock, prepared
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from scichain_wf.model.link import Link, Mode
from tests.builders import signing_key
from tests.unit.consensus.cluster import Cluster, MemoryLedger
from tests.unit.consensus.kit import roster_of


class Links:
    """A chain of single blocks, as storage would send it, and a replica of it."""

    def __init__(self, count: int, settings: Settings | None = None) -> None:
        self.cluster = Cluster(settings=settings)
        build = self.cluster.builder
        self.sent = [(link, self.cluster.chain.blocks[link.block]) for link in self.cluster.chain.links]
        self.tree = CompactRange()
        for number in range(len(self.sent), count):
            block = prepared(build.block(1, [build.task(f"t{number}")]))
            last = self.sent[-1][0]
            digest, time_us = bytes(32), last.time_us + 1_000
            link = Link(number, last.hash, block.block.id, digest, Mode.QUORUM, 2, (), 1, time_us)
            self.sent.append((link, block))
        for link, _ in self.sent:
            self.tree.append(link.hash)
        self.ledger = MemoryLedger()
        self.replica = Replica(build.chain, self.ledger, Timing())

    def apply(self) -> None:
        """Whatever is ready."""
        while (ready := self.replica.ready(lambda _: None)) is not None:
            self.replica.apply(*ready)

    def take(self, *heights: int) -> list[str]:
        """Links of these heights, with their blocks."""
        given = []
        for height in heights:
            given.append(self.replica.take(*self.sent[height]))
            self.apply()
        return given

    def checkpoint(self, root: bytes | None = None, size: int | None = None) -> Checkpoint:
        chain = self.cluster.builder.chain
        return Checkpoint(chain, self.tree.size if size is None else size, root or self.tree.root())


def test_links_in_any_order_are_applied_in_theirs() -> None:
    """Spec: CONV-1."""
    links = Links(8)
    links.replica.begin(0, (), ())
    assert links.take(5, 3, 4, 0, 1, 2) == [""] * 6
    assert [link.height for link in links.ledger.links] == [0, 1, 2, 3, 4, 5]
    assert links.take(5, 2, 7, 7) == ["link replayed", "link replayed", "", "link replayed"]
    assert links.take(6) == [""]
    assert links.replica.height == 7
    assert links.replica.head == links.sent[7][0].hash
    assert links.replica.has_linked(links.sent[7][1].block.id)


def test_a_body_may_come_later_and_must_be_the_links() -> None:
    links = Links(4)
    links.replica.begin(0, (), ())
    links.take(0, 1, 2)
    link, block = links.sent[3]
    assert links.replica.take(link, links.sent[2][1]) == "not the link's block"
    assert links.replica.take(link, None) == ""
    assert links.replica.ready(lambda _: None) is None
    assert links.replica.take(link, None) == "link replayed"
    found = links.replica.ready(lambda identity: block if identity == block.block.id else None)
    assert found == (link, block)
    assert links.replica.take(link, block) == ""
    links.apply()
    assert links.replica.height == 3


def test_missing_links_are_asked_for_again_while_nothing_comes() -> None:
    links = Links(8)
    pause = Timing().backoff_s
    links.replica.begin(0, (), ())
    assert links.replica.missing(0.0) is None
    links.take(0, 5)
    asked = [links.replica.missing(now) for now in (1.0, 1.0 + pause / 2, 1.0 + pause, 1.0 + 2 * pause)]
    assert asked == [messages.Sync(1), None, messages.Sync(1), None]
    assert links.replica.sync_at == pytest.approx(1.0 + 3 * pause)
    links.take(1)
    assert links.replica.missing(2.0) is None  # the answer is coming
    assert links.replica.sync_at == pytest.approx(2.0 + pause)
    assert links.replica.missing(2.0 + pause) == messages.Sync(2)
    links.take(2, 3, 4)
    assert links.replica.missing(9.0) is None
    assert links.replica.sync_at is None


def test_what_comes_early_is_bounded_and_what_follows_is_taken_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EARLY_LINKS_MAX", 2)
    links = Links(8)
    links.replica.begin(0, (), ())
    assert links.take(2, 3, 4) == ["", "", "link too early"]
    assert links.take(0, 1) == ["", ""]
    assert links.replica.height == 3


def test_blocks_known_to_be_linked_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINKED_BLOCKS_REMEMBERED_MAX", 2)
    links = Links(4)
    links.take(0, 1, 2, 3)
    assert [links.replica.has_linked(block.block.id) for _, block in links.sent] == [False, False, True, True]


def test_a_node_that_is_welcomed_late_begins_there() -> None:
    links = Links(8)
    before = CompactRange()
    for link, _ in links.sent[:5]:
        before.append(link.hash)
    assert links.take(3, 6) == ["", ""]  # announced before the welcome: nothing says yet where to begin
    assert links.replica.missing(1.0) is None
    links.replica.begin(5, before.nodes, ())
    assert links.take(5, 7) == ["", ""]
    assert [link.height for link in links.ledger.links] == [5, 6, 7]
    note = links.checkpoint().sign(links.cluster.builder.storage).text().encode()
    assert links.replica.check(note, links.cluster.builder.storage.public) == ""
    links.replica.begin(8, (), ())  # welcomed again after a broken channel: it goes on
    assert links.replica.height == 7


def test_a_node_too_far_behind_has_to_boot_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage replays the newest links only, so the gap could never be filled."""
    monkeypatch.setattr(limits, "SYNC_LINKS_MAX", 4)
    links = Links(9)
    links.replica.begin(0, (), ())
    links.take(0, 1, 2, 3, 7)
    with pytest.raises(VerificationError, match="this node ends at link 3, storage at 8: it has to boot anew"):
        links.take(8)
    with pytest.raises(VerificationError, match="boot anew"):
        links.replica.begin(6, (), ())
    with pytest.raises(VerificationError, match="a tree that cannot be"):
        Links(3).replica.begin(3, (), ())


def test_a_storage_node_that_shows_two_chains_is_noticed() -> None:
    """Spec: CONV-1."""
    links = Links(6)
    links.replica.begin(0, (), ())
    first = links.sent[0][0]
    links.replica.take(replace(first, time_us=first.time_us + 1), links.sent[0][1])
    with pytest.raises(VerificationError, match="link 0 that does not follow"):
        links.apply()
    links = Links(6)
    links.take(0, 1, 2, 3)
    for height in (3, 1):
        other = replace(links.sent[height][0], time_us=1)
        with pytest.raises(VerificationError, match=f"two different links of height {height}"):
            links.replica.take(other, None)
    links.ledger.heights_forgotten = 2
    assert links.replica.take(replace(links.sent[1][0], time_us=1), None) == "link replayed"  # too old to tell
    links.replica.take(replace(links.sent[4][0], previous=bytes(32)), links.sent[4][1])
    with pytest.raises(VerificationError, match="does not follow"):
        links.apply()


def test_checkpoints_are_held_against_the_links_that_came() -> None:
    """Spec: SAFE-7, seen from the nodes."""
    links = Links(5)
    links.take(0, 1, 2, 3, 4)
    storage, replica = links.cluster.builder.storage, links.replica
    public = storage.public
    assert replica.check(links.checkpoint().sign(storage).text().encode(), public) == ""
    assert replica.check(links.checkpoint(size=4).sign(storage).text().encode(), public) == ""  # of other links
    assert replica.check(b"nonsense", public) == "malformed checkpoint"
    foreign = replace(links.checkpoint(), chain=bytes(32)).sign(storage).text().encode()
    assert replica.check(foreign, public) == "wrong chain"
    assert replica.check(links.checkpoint().sign(signing_key(9, "x")).text().encode(), public) == "bad signature"
    with pytest.raises(VerificationError, match="signed another chain of 5 links"):
        replica.check(links.checkpoint(root=bytes(32)).sign(storage).text().encode(), public)


def test_an_adaptive_difficulty_follows_from_links_that_are_here_or_that_storage_told_of() -> None:
    """SciChain §5.4."""
    rule = Difficulty("adaptive", 5, 100, 500_000)
    size = 2 * limits.RETARGET_LINKS + 1
    links = Links(size, Settings(difficulty=rule))
    roster = roster_of(links.cluster.builder)
    assert links.replica.height == -1
    links.take(*range(limits.RETARGET_LINKS))
    assert links.replica.difficulty(roster) == 5  # too early to follow anything
    links.take(*range(limits.RETARGET_LINKS, size))
    followed = links.replica.difficulty(roster)
    assert followed != 5
    late = Links(size, Settings(difficulty=rule))
    anchors = tuple((height, late.sent[height][0].time_us) for height in (0, limits.RETARGET_LINKS))
    before = CompactRange()
    for link, _ in late.sent[: size - 1]:
        before.append(link.hash)
    late.replica.begin(size - 1, before.nodes, anchors)
    late.take(size - 1)
    assert late.replica.difficulty(roster) == followed
    ignorant = Links(size, Settings(difficulty=rule))
    ignorant.replica.begin(size - 1, before.nodes, ())
    ignorant.take(size - 1)
    with pytest.raises(VerificationError, match="the time of link 32 is unknown"):
        ignorant.replica.difficulty(roster)


@pytest.mark.parametrize(("mining", "wanted"), [("own", 0), ("race", 1)])
def test_an_adaptive_difficulty_counts_on_all_slots_only_where_all_mine(mining: str, wanted: int) -> None:
    """SciChain §4.5: of 30 hashes in the shortest interval, 10 are one node's."""
    settings = Settings(difficulty=Difficulty("adaptive", 0, 1_000, 200), mining=mining)
    links = Links(limits.RETARGET_LINKS + 1, settings)
    links.take(*range(limits.RETARGET_LINKS + 1))
    assert links.replica.difficulty(roster_of(links.cluster.builder)) == wanted


# --- the same through an agent ----------------------------------------------------------------------
def an_agent(cluster: Cluster) -> tuple[Agent, MemoryLedger]:
    """A fresh process that holds the key of slot 1."""
    build, ledger = cluster.builder, MemoryLedger()
    agent = Agent(build.nodes[1], 1, build.chain, build.authority.public, ledger, Timing(), prepared)
    agent.step(events.StorageUp(), 1.0)
    return agent, ledger


def committed(cluster: Cluster, height: int, block: PreparedBlock | None = None) -> events.CommittedReceived:
    link = cluster.chain.links[height]
    return events.CommittedReceived(link, cluster.chain.blocks[link.block] if block is None else block)


def test_an_agent_asks_for_what_it_lacks_while_storage_is_there() -> None:
    cluster = Cluster()
    agent, ledger = an_agent(cluster)
    agent.step(events.Welcomed(0, ()), 1.0)
    given = agent.step(committed(cluster, 2), 1.0)
    assert effects.SendStorage(messages.Sync(0)) in given
    assert effects.SetTimer(1.0 + Timing().backoff_s) in given
    assert effects.SendStorage(messages.Sync(0)) in agent.step(events.Tick(), 1.0 + Timing().backoff_s)
    assert agent.step(events.StorageDown(), 2.0) == (effects.SetTimer(None),)
    assert agent.step(events.Tick(), 9.0) == ()
    agent.step(events.StorageUp(), 10.0)
    for height in (0, 1):
        agent.step(committed(cluster, height), 10.0)
    assert [len(ledger.links), agent.is_member] == [3, True]


def test_a_lost_link_is_asked_for_and_everything_after_it_is_applied() -> None:
    """SciChain §3.1: a node that lags pulls the newest links from the shared storage. Spec: CONV-1."""
    cluster = Cluster()
    lost: list[object] = []

    def lose_one(delivery: tuple[int, int, object]) -> bool:
        if delivery[1] == 2 and isinstance(delivery[2], events.CommittedReceived) and not lost:
            lost.append(delivery)
            return True
        return False

    cluster.submit(1, cluster.builder.task("a"))
    cluster.lose = lose_one
    cluster.run(1)
    assert lost
    cluster.submit(1, cluster.builder.task("b"))
    cluster.run(1)
    assert [link.hash for link in cluster.nodes[2].ledger.links] == [link.hash for link in cluster.chain.links]
    assert cluster.nodes[2].agent.head == cluster.chain.links[-1].hash


def test_a_link_without_its_block_is_applied_by_who_has_the_block() -> None:
    """A validator has it from the proposal, its maker made it."""
    cluster = Cluster()
    bare: list[int] = []

    def strip(delivery: tuple[int, int, object]) -> bool:
        message = delivery[2]
        if isinstance(message, events.CommittedReceived) and message.block is not None:
            bare.append(delivery[1])
            cluster.network.append((0, delivery[1], events.CommittedReceived(message.link, None)))
            return True
        return False

    cluster.submit(1, cluster.builder.task("a"))
    cluster.lose = strip
    cluster.run(1)
    assert sorted(bare) == [1, 2, 3]
    assert {len(node.ledger.links) for node in cluster.nodes.values()} == {len(cluster.chain.links)}


def test_an_agent_stops_where_storage_breaks_the_protocol() -> None:
    cluster = Cluster()
    storage = cluster.builder.storage
    tree = len(cluster.chain.links)
    forged = Checkpoint(cluster.builder.chain, tree, bytes(32)).sign(storage).text().encode()
    last = cluster.chain.links[-1]
    for event, reason in (
        (events.CheckpointReceived(forged), "signed another chain"),
        (events.CommittedReceived(replace(last, time_us=1), None), "two different links of height 2"),
        (events.Welcomed(9, (bytes(32), bytes(32))), "boot anew"),
    ):
        fresh = Cluster()
        given = fresh.nodes[1].agent.step(event, fresh.now)
        assert [reason in effect.reason for effect in given if isinstance(effect, effects.Halt)] == [True]
