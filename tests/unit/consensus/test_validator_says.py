"""Whatever an honest node is sent, it never says what would convict it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.consensus import effects, events, evidence, messages
from scichain_wf.consensus.agent import Agent
from scichain_wf.consensus.timing import Timing
from scichain_wf.crypto.hashing import Domain
from scichain_wf.ledger.prepared import PreparedBlock, prepared
from scichain_wf.model.block import Block
from scichain_wf.model.link import Mode
from scichain_wf.model.transaction import Transaction
from scichain_wf.model.verdict import Verdict, Vote
from scichain_wf.sim.ledgers import Histories, NodeView
from tests.builders import ChainBuilder
from tests.unit.consensus.cluster import Cluster

JUDGE = 2


class Tail(NodeView):
    """Two links, and a filter of the past that comes late."""

    def __init__(self) -> None:
        super().__init__(Histories(), 2, lambda _: None)

    @property
    def _filter_covers(self) -> bool:
        return self.has_past


@dataclass
class Play:
    """A chain that grows, and blocks that two other slots propose, one of which boots again with another key."""

    cluster: Cluster
    begun: int
    links: list[events.CommittedReceived]
    blocks: list[PreparedBlock]


@cache
def play() -> Play:
    cluster = Cluster()
    build, begun = cluster.builder, len(cluster.chain.links)
    makers = [build.task(f"make{n}", (), [build.artifact("f", b"%d" % n)]) for n in range(4)]
    plain = build.block(1, [build.task("plain")])
    blocks = [changed(build, plain, sequence=n, time_us=time) for n in range(1, 5) for time in (1, 2)]
    for number, maker in enumerate(makers):
        made = build.block(1, [maker])
        blocks += [made, *proposals(build, 2 * number + 1, maker)]
        build.linked(cluster._append(prepared(made), Mode.POET, b"", build.epoch.epoch))
        if number == 1:
            cluster.restart(3)
    chain = cluster.chain
    links = [events.CommittedReceived(link, chain.blocks[link.block]) for link in chain.links]
    return Play(cluster, begun, links, [prepared(block) for block in blocks])


def proposals(build: ChainBuilder, sequence: int, maker: Transaction) -> Iterator[Block]:
    """All of one sequence number: traceable or not, a record that is linked, wrong, of an epoch to come."""
    read = build.task("read", [build.artifact("f", b"0"), build.artifact("f", b"3")])
    records = (read, build.task("read", [build.artifact("f", b"no")]), build.task("read no task's"), maker)
    blocks = [build.block(1, [record]) for record in records]
    changes: tuple[dict[str, object], ...] = (
        {"parent": bytes(32)},
        {"epoch": build.epoch.epoch + 1},
        {"epoch": build.epoch.epoch + 2},
        {"source": "storage"},
    )
    for block in (*blocks, build.block(3, records[2:3])):
        yield changed(build, block, sequence=sequence)
    for change in changes:
        yield changed(build, blocks[2], sequence=sequence, **change)


def changed(build: ChainBuilder, block: Block, **changes: object) -> Block:
    header = replace(block.header, **changes)  # type: ignore[arg-type]
    slot = next(slot for slot, key in build.nodes.items() if key.public.fingerprint == header.proposer)
    data = header.encode()
    return Block(data, build.nodes[slot].sign(Domain.BLOCK, data), block.transactions)


@contextmanager
def little_memory() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "SEQUENCES_REMEMBERED_MAX", 2)
        patch.setattr(limits, "REMEMBERED_BLOCKS_MAX", 4)
        patch.setattr(limits, "BLOCKS_AHEAD_MAX", 2)
        patch.setattr(limits, "EPOCHS_AHEAD_MAX", 1)
        yield


PROPOSED = st.tuples(st.integers(0, 99), st.sampled_from((1, 3)), st.integers(0, 9))
STEPS = st.one_of(PROPOSED, PROPOSED, st.sampled_from(("tick", "tick", "link", "past")))


def votes_of(steps: Sequence[object]) -> list[Vote]:
    """Everything that the judge says."""
    scene, said, now = play(), [], 1.0
    build, ledger = scene.cluster.builder, Tail()
    key, authority = build.nodes[JUDGE], build.authority.public
    agent = Agent(key, JUDGE, build.chain, authority, ledger, Timing(), prepared)
    links = iter(scene.links)
    todo: list[events.AgentEvent] = [events.ClockSet(1), events.Welcomed(0, ()), events.StorageUp()]
    todo += [next(links) for _ in range(scene.begun)] + [events.PeerUp(1), events.PeerUp(3)]
    for step in steps:
        if isinstance(step, tuple):
            index, sender, nth = step
            block = scene.blocks[index % len(scene.blocks)]
            if not nth:  # one of ten is not signed
                block = prepared(replace(block.block, signature=bytes(64)))
            todo.append(events.ProposalReceived(sender, block))
            if nth % 2:
                todo.append(events.Tick())
        elif step == "link":
            todo += [link for link in (next(links, None),) if link is not None]
        elif step == "past":
            todo.append(events.PastKnown())
        else:
            todo.append(events.Tick())
    for event in todo:
        ledger.has_past = ledger.has_past or isinstance(event, events.PastKnown)
        now += 0.01
        for effect in agent.step(event, now):
            assert not isinstance(effect, effects.Halt)
            if isinstance(effect, effects.SendPeer) and isinstance(effect.message, messages.Verdicts):
                batch = effect.message.batch
                said += [batch.vote(index) for index in range(len(batch.entries))]
    return said


@given(st.lists(STEPS, min_size=20, max_size=80))
def test_no_two_votes_of_an_honest_node_contradict_each_other(steps: list[object]) -> None:
    """Spec: SAFE-2. Spec: HONEST-1. Blocks, links, a past and ticks in any order; memory for next to nothing."""
    with little_memory():
        said = votes_of(steps)
    scene = play()
    voted: dict[tuple[bytes, int], bytes] = {}
    key = scene.cluster.builder.nodes[JUDGE].public
    headers = {block.block.id: block.block.header for block in scene.blocks}
    for first, second in combinations(said, 2):
        assert not evidence.contradict(first, second, key)
    for vote in said:
        if vote.entry.verdict is Verdict.VALID:
            header = headers[vote.entry.block]
            assert voted.setdefault((header.proposer, header.sequence), vote.entry.block) == vote.entry.block


def test_the_play_has_every_verdict_on_one_block_in_it() -> None:
    """Else the property above would say little."""
    verdicts: dict[bytes, set[Verdict]] = {}
    with little_memory():
        for index in range(len(play().blocks)):
            steps = [(index, 1, 2), "tick", "past", "tick", *["link", (index, 1, 2), "tick"] * 4]
            for vote in votes_of(steps):
                verdicts.setdefault(vote.entry.block, set()).add(vote.entry.verdict)
    assert set().union(*verdicts.values()) == set(Verdict)
    assert {Verdict.VALID, Verdict.INVALID} in [said - {Verdict.UNKNOWN} for said in verdicts.values()]
