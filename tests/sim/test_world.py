"""The simulated world: the real core commits what is submitted, crashes and all, and a seed gives one run."""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

import pytest

from scichain_wf.consensus import messages
from scichain_wf.crypto.hashing import sha256
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.link import Mode
from scichain_wf.model.text import digest_text
from scichain_wf.sim import observe
from scichain_wf.sim.config import Cpu, SimConfig
from scichain_wf.sim.kernel import Kernel
from scichain_wf.sim.result import Result
from scichain_wf.sim.world import World


class Everything:
    """Remembers what it is told, and hashes it."""

    def __init__(self) -> None:
        self.told: list[observe.Observation] = []
        self._digest = hashlib.sha256()

    def observe(self, world: observe.Clock, what: observe.Observation) -> None:
        self.told.append(what)
        self._digest.update(f"{world.now!r} {what!r}\n".encode())

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def of(self, kind: type) -> list[Any]:
        return [what for what in self.told if isinstance(what, kind)]


def ran(config: SimConfig) -> tuple[World, Result]:
    world = World(config)
    return world, world.run()


def faulty(config: SimConfig) -> tuple[World, Everything, Result]:
    """A run in which processes crash and restart, and the network is at fault."""
    seen = Everything()
    world = World(config, [seen])
    random = Random(config.seed)
    for _ in range(6):
        at, endpoint = random.uniform(0.05, config.duration_s), random.randint(0, config.nodes)
        world.kernel.at(at, world.crash, endpoint)
        world.kernel.at(at + 0.2, world.restart, endpoint)
    world.network.loss = world.network.duplicate = world.network.reorder = 0.02
    world.kernel.at(config.duration_s + 0.5, world.network.heal)
    return world, seen, world.run()


def assert_all_hold_the_chain(world: World) -> None:
    size = world.disk.size
    assert {agent.core.height for agent in world.agents.values()} == {size - 1}
    assert {agent.core.head for agent in world.agents.values()} == {world.disk.history.hashes[size - 1]}


# --- nothing fails ----------------------------------------------------------------------------------
@pytest.mark.parametrize("nodes", [1, 2, 3, 7])
def test_everything_submitted_is_committed_by_quorums(nodes: int) -> None:
    world, result = ran(SimConfig(nodes=nodes, seed=nodes, duration_s=1.0, rate=40))
    assert result.submitted > 20
    assert result.committed == result.submitted
    assert result.modes == {"quorum": result.blocks}
    assert result.poet_share == 0
    assert_all_hold_the_chain(world)
    assert not any(agent.outbox for agent in world.agents.values())
    assert result.marks["contested"] == result.marks["duplicate"] == 0
    assert result.marks["unresolved"] <= result.submitted
    assert len(result.durable_s) == result.submitted
    assert len(result.certified_s) == result.blocks
    assert all(seconds > 0 for seconds in result.durable_s)


def test_every_message_of_a_block_is_counted() -> None:
    _, result = ran(SimConfig(nodes=4, rate=0, seed=3))
    assert result.messages == {"Hello": 4, "Welcome": 4, "Committed": 12}
    world = World(SimConfig(nodes=4, rate=0, seed=3))
    world.kernel.at(1.0, lambda: world.submit(2, [world.workload.item([], 1.0)]))
    after = world.run()
    more = {kind: count - result.messages.get(kind, 0) for kind, count in after.messages.items()}
    assert more == {
        "Propose": 3,
        "Verdicts": 3,
        "Push": 1,
        "Committed": 4,
        "Checkpoint": 4,
        "Hello": 0,
        "Welcome": 0,
    }
    assert after.syncs - result.syncs == 1
    assert after.blocks == 1


def test_sizes_of_messages_are_those_of_their_bytes() -> None:
    class Sizes:
        def __init__(self) -> None:
            self.bytes: dict[str, int] = {}

        def observe(self, _world: observe.Clock, what: observe.Observation) -> None:
            if isinstance(what, observe.Sent) and isinstance(what.message, messages.Message):
                kind = type(what.message).__name__
                self.bytes[kind] = self.bytes.get(kind, 0) + len(what.message.encode())

    seen = Sizes()
    config = SimConfig(nodes=5, again=0.3, tampered=0.1, difficulty=1, mining="race", duration_s=1.0, latency="2000")
    world = World(config, [seen])
    world.kernel.at(0.4, world.crash, 1)
    world.kernel.at(0.4, world.crash, 2)
    world.kernel.at(0.4, world.crash, 3)
    result = world.run()
    assert {"Propose", "Verdicts", "Push", "Extend", "Committed", "Puzzle", "Found"} <= seen.bytes.keys()
    assert {kind: result.message_bytes[kind] for kind in seen.bytes} == seen.bytes


@pytest.mark.parametrize(
    "changed",
    [
        {"real_signatures": True, "difficulty": 1},
        {"real_bytes": True},
        {"difficulty": 5, "mining": "race"},
        {"difficulty": Difficulty("adaptive", 1, 100, 500_000), "rate": 200.0},
        {"latency": "lognormal:2000:1"},
        {"quorum": "byzantine"},
        {"tail_links": 3},
        {"storage_weight": 2},
    ],
    ids=str,
)
def test_each_setting_gives_a_world_that_works(changed: dict[str, Any]) -> None:
    world, result = ran(SimConfig(**({"nodes": 4, "seed": 5, "duration_s": 1.0, "rate": 30} | changed)))
    assert result.committed == result.submitted > 10
    assert result.hashes == 0 or "difficulty" in changed
    assert_all_hold_the_chain(world)


def test_a_longer_way_takes_longer() -> None:
    """A block takes at least: proposal, verdict, push, one way each."""
    for us in (2, 250, 20_000):
        _, result = ran(SimConfig(nodes=5, latency=str(us), sync_s=0.0, duration_s=0.5))
        assert min(result.certified_s) >= 3 * us * 1e-6 - 1e-12  # sums of floating-point numbers
        assert min(result.certified_s) < 3 * us * 1e-6 + 0.002


def test_a_processor_that_needs_time_makes_latency_longer() -> None:
    _, fast = ran(SimConfig(nodes=5))
    _, slow = ran(SimConfig(nodes=5, cpu=Cpu(sign_s=0.001, verify_s=0.002, judge_s=0.003)))
    assert slow.committed == slow.submitted
    assert min(slow.certified_s) > min(fast.certified_s) + 0.006


def test_a_task_with_a_changed_input_is_contested() -> None:
    _, result = ran(SimConfig(tampered=0.5, rate=60))
    assert result.marks["contested"] > 0
    assert result.committed == result.submitted


def test_what_is_submitted_at_two_nodes_is_a_duplicate() -> None:
    _, result = ran(SimConfig(again=0.5, rate=60))
    assert result.marks["duplicate"] > 0
    assert result.committed == result.submitted


# --- a seed is a run --------------------------------------------------------------------------------
@pytest.mark.parametrize("latency", ["ethernet", "exponential:100:300"])
def test_the_same_seed_gives_the_same_run(latency: str) -> None:
    config = SimConfig(nodes=5, seed=11, duration_s=1.0, latency=latency, difficulty=2, mining="race")
    (_, first, one), (_, second, two) = faulty(config), faulty(config)
    assert len(first.told) > 1_000
    assert first.digest == second.digest
    assert one == two
    assert one.crashes > 0


def test_another_seed_gives_another_run() -> None:
    results = [ran(SimConfig(nodes=3, seed=seed, duration_s=0.5))[1] for seed in (1, 2)]
    assert results[0].chain != results[1].chain


@pytest.mark.parametrize("stream", ["arrivals", "workload", "epochs", "network"])
def test_every_stream_of_randomness_matters(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SimConfig(nodes=4, seed=11, duration_s=1.0)
    _, seen, _ = faulty(config)
    drawn = Kernel.rng

    def renamed(self: Kernel, name: str) -> Random:
        return drawn(self, "another" if name == stream else name)

    monkeypatch.setattr(Kernel, "rng", renamed)
    _, other, _ = faulty(config)
    assert seen.digest != other.digest


# --- processes come and go --------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(8))
def test_faults_delay_and_lose_nothing(seed: int) -> None:
    world, seen, result = faulty(SimConfig(nodes=4, seed=seed, duration_s=1.0, rate=40))
    assert result.committed == result.submitted > 20
    assert_all_hold_the_chain(world)
    assert result.crashes == result.restarts == len(seen.of(observe.Crashed)) > 2
    assert not any(agent.outbox or agent.refused for agent in world.agents.values())


def test_a_restarted_agent_has_a_new_key_and_hands_in_what_its_outbox_holds() -> None:
    world = World(SimConfig(nodes=3, rate=0))
    world.start()
    world.kernel.run(0.5)
    key = world.agents[1].key
    item = world.workload.item([], world.now)
    world.submit(1, [item])
    world.crash(1)
    assert list(world.agents[1].outbox) == [item.id]
    world.restart(1)
    assert world.agents[1].core.height == -1
    result = world.run()
    assert result.committed == 1
    assert result.messages["Query"] == 1
    assert result.blocks == 1
    assert not world.agents[1].outbox
    assert world.agents[1].key.public != key.public
    newest = world.read_epoch(world.disk.history.blocks[3].parsed[0]["body"])  # type: ignore[arg-type]
    assert newest.keys[1] == world.agents[1].key.public


def test_what_was_committed_behind_a_crash_is_not_handed_in_again() -> None:
    world = World(SimConfig(nodes=3, rate=0, sync_s=0.1))
    world.start()
    world.kernel.run(2.0)
    world.submit(1, [world.workload.item([], world.now)])
    while not world.network.messages["Push"]:
        world.kernel.run(world.kernel.next_time or 0.0)
    world.kernel.run(world.now + 0.01)
    world.crash(1)
    world.restart(1)
    result = world.run()
    assert result.blocks == 1
    assert result.marks["duplicate"] == 0
    assert not world.agents[1].outbox


def test_a_lost_node_comes_back_with_nothing() -> None:
    seen = Everything()
    world = World(SimConfig(nodes=3, rate=0), [seen])
    world.start()
    world.kernel.run(0.5)
    world.submit(1, [world.workload.item([], world.now)])
    world.lose_node(1)
    world.restart(1)
    result = world.run()
    assert (result.submitted, result.committed, result.lost_nodes) == (1, 0, 1)
    assert seen.of(observe.NodeLost) == [observe.NodeLost(1)]
    assert world.agents[1].core.is_member


def test_unsynced_links_are_gone_after_a_crash_of_storage() -> None:
    world = World(SimConfig(nodes=3, rate=0, sync_s=0.5, duration_s=3.0))
    world.start()
    world.kernel.run(2.0)
    size = world.disk.size
    world.submit(2, [world.workload.item([], world.now)])
    while not world.network.messages["Push"]:
        world.kernel.run(world.kernel.next_time or 0.0)
    world.kernel.run(world.now + 0.3)
    world.crash(0)
    world.kernel.run(world.now + 1.0)
    assert world.disk.size == size
    world.restart(0)
    result = world.run()
    assert result.blocks == result.committed == 1
    assert result.messages["Push"] == 2
    assert result.parks == 1


def test_storage_that_went_back_in_time_appends_nothing() -> None:
    world = World(SimConfig(nodes=3, rate=0, checkpoint_s=0.0))
    world.start()
    world.kernel.run(0.5)
    image = world.disk.keep_image()
    world.submit(1, [world.workload.item([], world.now)])
    world.kernel.run(1.0)
    assert world.disk.size == image.size + 1
    world.restore(image)
    world.restart(0)
    world.kernel.run(2.0)
    world.submit(2, [world.workload.item([], world.now)])
    world.run()
    assert world.storage.halted
    assert world.disk.size == image.size


@pytest.mark.parametrize("endpoint", [0, 2])
def test_a_process_can_end_between_any_two_effects(endpoint: int) -> None:
    """Every place once: whatever was done of a step and whatever was not, nothing is lost."""
    for place in range(0, 20, 2):
        world = World(SimConfig(nodes=3, seed=place, rate=60, duration_s=1.0))
        left = iter(range(place, -1, -1))

        def now(at: int, _index: int, left: Any = left, world: World = world) -> bool:
            if at != endpoint or world.now < 0.1 or next(left, -1) != 0:
                return False
            world.kernel.after(0.1, world.restart, at)
            return True

        world.crash_between = now
        result = world.run()
        assert result.crashes == 1, place
        assert result.committed == result.submitted
        assert_all_hold_the_chain(world)


def test_a_paused_agent_goes_on_where_it_was() -> None:
    world = World(SimConfig(nodes=5, rate=30, duration_s=2.0))
    key = world.agents[3]
    world.kernel.at(0.3, world.pause, 3)
    world.kernel.at(1.2, world.resume, 3)
    result = world.run()
    assert result.committed == result.submitted
    assert key.core.height == world.disk.size - 1
    assert result.crashes == 0


@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_a_skewed_clock_changes_when_timers_go_off(rate: float) -> None:
    """A draft's interval by a clock at half the rate takes twice as long."""
    world = World(SimConfig(nodes=1, rate=0))
    world.kernel.at(0.5, world.skew, 1, rate)
    world.kernel.at(1.0, lambda: world.submit(1, [world.workload.item([], 1.0)]))
    result = world.run()
    assert result.durable_s[0] == pytest.approx(0.05 / rate + 2 * 250e-6 + 0.001, abs=0.002)


def test_a_cold_agent_asks_for_the_filter_and_then_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that only an older link could have produced: without the filter a cold validator cannot know."""
    monkeypatch.setattr("scichain_wf.limits.SYNC_LINKS_MAX", 4)
    world = World(SimConfig(nodes=3, rate=0))
    world.start()
    for second in range(1, 10):
        world.kernel.run(float(second))
        world.submit(1, [world.workload.item([], world.now)])
    world.kernel.run(20.0)
    for slot in (2, 3):
        world.crash(slot)
        world.restart(slot)
    world.kernel.run(30.0)
    digest = digest_text(sha256(b"x"))
    source: JsonObject = {"uri": "file:///unheard-of", "role": "file", "state": "file", "digest": digest}
    world.submit(1, [world.workload.item([source], world.now)])
    result = world.run()
    assert result.messages["FilterWanted"] == 2
    assert world.agents[2].ledger.floor > 0
    assert result.modes == {"quorum": 10}


def test_in_a_tree_a_dead_slot_does_not_cut_off_those_below_it() -> None:
    from scichain_wf.consensus.timing import Timing

    timing = Timing(mesh_slots=4, fanout=2)
    world = World(SimConfig(nodes=15, rate=0, timing=timing, duration_s=9.0, drain_s=30.0))
    world.start()
    world.kernel.run(1.0)
    world.crash(2)
    world.kernel.run(2.0)
    for _ in range(3):
        world.submit(1, [world.workload.item([], world.now)])
        world.kernel.run(world.now + 3.0)
    world.restart(2)
    result = world.run()
    assert result.modes == {"quorum": 3}
    assert_all_hold_the_chain(world)


def test_an_epoch_binds_everybody_who_booted_in_time() -> None:
    world, _ = ran(SimConfig(nodes=50, rate=0))
    links = world.disk.history.links
    assert [link.mode for link in links] == [Mode.EPOCH] * 3
    assert all(agent.core.is_member for agent in world.agents.values())
