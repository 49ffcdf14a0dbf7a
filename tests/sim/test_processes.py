"""Processes of a simulated world against what should not happen: nonsense on the wire, forks, bad joins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scichain_wf.consensus import events, membership, messages
from scichain_wf.crypto.hashing import Domain
from scichain_wf.errors import DecodeError
from scichain_wf.model.block import Block, transaction_root
from scichain_wf.sim import control, observe
from scichain_wf.sim.agents import AgentProcess
from scichain_wf.sim.config import SimConfig
from scichain_wf.sim.kernel import Kernel
from scichain_wf.sim.storages import StorageProcess
from scichain_wf.sim.world import World


class Seen:
    def __init__(self) -> None:
        self.told: list[observe.Observation] = []

    def observe(self, _world: observe.Clock, what: observe.Observation) -> None:
        self.told.append(what)


class Garbler(AgentProcess):
    """Its blocks hold transactions that are none, or others than their header says."""

    def transmit(self, to: list[int], message: Any) -> None:
        if isinstance(message, messages.Propose | messages.Push | messages.Extend):
            block = message.block
            for transactions, root in (
                ((b"{}",), transaction_root((b"{}",))),
                ((b"{}",), block.header.root),
                ((), block.header.root),
            ):
                header = replace(block.header, root=root, count=1).encode()
                garbled = Block(header, self.key.sign(Domain.BLOCK, header), transactions)
                super().transmit(to, replace(message, block=garbled))
        super().transmit(to, message)


def test_what_cannot_be_read_is_dropped_and_changes_nothing() -> None:
    world = World(SimConfig(nodes=3, rate=0), agent_types={1: Garbler})
    world.liars = frozenset({1})
    world.kernel.at(1.0, lambda: world.submit(1, [world.workload.item([], 1.0)]))
    result = world.run()
    assert result.dropped == {"malformed": 9}  # three proposals to each of two peers, three pushes
    assert (result.committed, result.modes) == (1, {"quorum": 1})


def test_what_is_not_for_an_agent_is_dropped() -> None:
    world = World(SimConfig(nodes=2, rate=0))
    world.start()
    world.kernel.run(1.0)
    world.send(1, [2], messages.Sync(0))
    world.send(0, [2], messages.Sync(0))
    world.send(1, [0], messages.Answer(bytes(32), "wait"))
    assert world.run().dropped == {"malformed": 3}


class Forgetful(StorageProcess):
    """Does not listen to what agents say they have."""

    def _presented(self, _slot: int, _hello: control.Hello) -> list[events.Presented]:
        return []


def test_an_agent_that_is_shown_another_chain_stops() -> None:
    seen = Seen()
    world = World(SimConfig(nodes=3, rate=0, checkpoint_s=0.0), [seen], storage_type=Forgetful)
    world.start()
    world.kernel.run(1.0)
    image = world.disk.keep_image()
    world.submit(1, [world.workload.item([], 1.0)])
    world.kernel.run(2.0)
    world.crash(3)
    world.restore(image)
    world.restart(0)
    world.restart(3)
    result = world.run()
    assert result.halts == 2
    assert {what.endpoint for what in seen.told if isinstance(what, observe.Halted)} == {1, 2}
    assert all("link" in world.agents[slot].halted for slot in (1, 2))
    assert not world.agents[1].alive
    assert world.agents[3].alive
    assert len(world.histories.all) == 2


def test_a_join_that_does_not_hold_binds_nobody_and_stops_nothing() -> None:
    world = World(SimConfig(nodes=3, rate=0))
    world.start()
    world.kernel.run(1.0)
    stranger = world.keys.make("stranger")
    join = membership.bind(replace(world.token(2), key=stranger), world.chain_id, stranger.public, "elsewhere")
    size = world.disk.size
    world.send(2, [0], control.Hello(join, -1, None, None))
    world.kernel.run(2.0)
    assert world.disk.size == size
    world.submit(2, [world.workload.item([], 2.0)])
    assert world.run().modes == {"quorum": 1}


def test_storage_admits_nobody_whose_links_it_has_not() -> None:
    world = World(SimConfig(nodes=5, rate=0))
    world.start()
    world.kernel.run(1.0)
    liar = world.agents[2]
    world.crash(2)
    liar.boot()
    world.kernel.run(1.04)  # before its channel stands
    welcomes = world.network.messages["Welcome"]
    world.network.boot(2)
    world.send(2, [0], control.Hello(liar.join, 1_000, bytes(32), b"no checkpoint"))
    world.kernel.run(1.045)
    assert world.network.messages["Welcome"] == welcomes
    assert not world.storage.halted  # one slot of five may lie


def test_an_agent_whose_block_storage_refuses_gives_it_up_at_last() -> None:
    class Refusing(StorageProcess):
        def decided(self, view: Any, candidate: Any) -> Any:
            outcome = super().decided(view, candidate)
            view.added.clear()
            return replace(outcome, result=messages.Answer(candidate.block.block.id, "refused", reason="no"))

    world = World(SimConfig(nodes=3, rate=0), storage_type=Refusing)
    world.kernel.at(1.0, lambda: world.submit(1, [world.workload.item([], 1.0)]))
    result = world.run()
    agent = world.agents[1]
    assert (result.committed, result.rejects) == (0, 4)
    assert list(agent.refused.values()) == ["no"]
    assert not agent.outbox
    assert any("refused" in note for note in agent.notes)


def test_a_message_that_cannot_be_encoded_never_arrives() -> None:
    world = World(SimConfig(nodes=2, rate=0, real_bytes=True))
    world.start()
    world.kernel.run(1.0)
    before = world.tally.malformed
    world.network.send(1, [2], messages.Answer(bytes(32), "wait", reason="x"))
    world.kernel.run(2.0)
    assert world.tally.malformed == before + 1  # it can be read, and is not for a peer to send
    with pytest.raises(DecodeError):
        world.network.send(1, [2], messages.Answer(bytes(32), "perhaps"))


def test_what_is_done_twice_is_done_once() -> None:
    world = World(SimConfig(nodes=2, rate=0))
    world.start()
    world.kernel.run(1.0)
    world.restart(1)
    world.restart(0)
    world.crash(1)
    world.crash(1)
    world.restart(1)
    world.crash(2)
    world.skew(2, 2.0)
    world.resume(2)
    result = world.run()
    assert (result.crashes, result.restarts) == (2, 1)


def test_numbers_of_a_run() -> None:
    world = World(SimConfig(nodes=3, rate=0, measure_memory=True))
    empty = world.run()
    assert (empty.poet_share, empty.messages_per_block, empty.storage_accesses_per_block) == (0.0, 0.0, 0.0)
    assert empty.peak_memory_bytes is not None
    assert empty.peak_memory_bytes > 10_000
    result = World(SimConfig(nodes=3, seed=4)).run()
    value = result.value()
    assert value["poet_share"] == result.poet_share
    assert result.storage_accesses_per_block > 1.5
    assert value["messages"] == result.messages
    assert value["peak_memory_bytes"] is None


def test_what_was_cancelled_is_never_next() -> None:
    kernel = Kernel(1)
    kernel.at(1.0, print).cancel()
    kernel.at(2.0, print)
    assert kernel.next_time == 2.0
