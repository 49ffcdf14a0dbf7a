"""The simulated network: order, loss, repetition, cuts, partitions, and what the ends are told."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from scichain_wf.errors import ConfigError
from scichain_wf.sim.control import Checkpoint
from scichain_wf.sim.kernel import Kernel
from scichain_wf.sim.latency import Latency
from scichain_wf.sim.network import Network


def message(number: int) -> Checkpoint:
    return Checkpoint(bytes([number]))


@dataclass
class Wires:
    """Endpoints 0 (storage) to `count`, on a network that takes a millisecond."""

    count: int = 3
    latency: str = "1000"
    is_mesh: bool = True
    got: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    told: list[tuple[float, int, int, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kernel = Kernel(7)
        latency = Latency.parse(self.latency)
        self.network = Network(self.kernel, latency, 0.1, 0.2, self.is_mesh, self._deliver, self._changed)
        for endpoint in range(self.count + 1):
            self.network.boot(endpoint)
        self.kernel.run(1.0)

    def _deliver(self, frm: int, to: int, what: Checkpoint) -> None:
        self.got.setdefault(to, []).append((frm, what.text[0]))

    def _changed(self, endpoint: int, other: int, up: bool) -> None:
        self.told.append((round(self.kernel.now, 6), endpoint, other, up))

    def send(self, frm: int, to: int, number: int) -> None:
        if self.network.is_up(frm, to):
            self.network.send(frm, [to], message(number))

    def run(self, seconds: float = 1.0) -> None:
        self.kernel.run(self.kernel.now + seconds)

    def since(self, at: float) -> list[tuple[float, int, int, bool]]:
        return [told for told in self.told if told[0] >= at]


# --- a kernel ---------------------------------------------------------------------------------------
def test_what_is_due_happens_in_order_of_time_and_then_of_asking() -> None:
    kernel = Kernel(1)
    seen: list[str] = []
    for time, name in ((2.0, "c"), (1.0, "a"), (2.0, "d"), (1.0, "b"), (9.0, "never")):
        kernel.at(time, seen.append, name)
    kernel.at(1.0, seen.append, "cancelled").cancel()
    kernel.run(5.0)
    assert seen == ["a", "b", "c", "d"]
    assert kernel.events == 4
    assert (kernel.now, kernel.next_time) == (5.0, 9.0)
    kernel.run(10.0)
    assert (kernel.now, kernel.last, kernel.next_time) == (10.0, 9.0, None)


def test_nothing_happens_in_the_past() -> None:
    kernel, seen = Kernel(1), []
    kernel.at(2.0, lambda: kernel.at(1.0, lambda: seen.append(kernel.now)))
    kernel.run(3.0)
    assert seen == [2.0]


def test_streams_depend_on_seed_and_name() -> None:
    draws = {(seed, name): Kernel(seed).rng(name).random() for seed in (1, 2) for name in "ab"}
    assert len(set(draws.values())) == 4
    assert Kernel(1).rng("a").random() == draws[1, "a"]
    kernel = Kernel(1)
    kernel.rng("b").random()
    assert kernel.rng("a").random() == draws[1, "a"]


# --- latency ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "low_us", "high_us"),
    [
        ("infiniband", 2, 2),
        ("ethernet", 250, 250),
        ("40.5", 40.5, 40.5),
        ("uniform:10:30", 10, 30),
        ("exponential:5:20", 5, 1_000),
        ("lognormal:250:0.5", 10, 5_000),
    ],
)
def test_latencies(text: str, low_us: float, high_us: float) -> None:
    latency, random = Latency.parse(text), Kernel(3).rng("x")
    draws = [latency.draw(random) * 1e6 for _ in range(500)]
    assert low_us - 1e-6 <= min(draws)
    assert max(draws) <= high_us + 1e-6
    assert latency.is_fixed == (len(set(draws)) == 1)


@pytest.mark.parametrize("text", ["", "fast", "-1", "nan", "inf", "uniform:1", "fixed:1:2", "uniform:a:b", "gauss:1:2"])
def test_what_is_no_latency_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match=r"infiniband.*lognormal:MEDIAN:SIGMA"):
        Latency.parse(text)


# --- messages ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("latency", ["1000", "exponential:0:5000"])
def test_a_channel_keeps_its_order(latency: str) -> None:
    wires = Wires(latency=latency)
    for number in range(50):
        wires.kernel.after(number * 1e-4, wires.send, 1, 2, number)
        wires.kernel.after(number * 1e-4, wires.network.send, 1, [2, 3], message(100 + number))
    wires.run()
    assert wires.got[2] == [(1, number + add) for number in range(50) for add in (0, 100)]
    assert wires.got[3] == [(1, 100 + number) for number in range(50)]
    assert wires.network.messages == {"Checkpoint": 150}
    assert wires.network.sent_bytes == {"Checkpoint": 150}


def test_reordering_lets_messages_overtake() -> None:
    wires = Wires()
    wires.network.reorder = 0.3
    for number in range(50):
        wires.kernel.after(number * 1e-3, wires.send, 1, 2, number)
    wires.run()
    assert sorted(wires.got[2]) == [(1, number) for number in range(50)]
    assert wires.got[2] != sorted(wires.got[2])


def test_duplicates_arrive_twice() -> None:
    wires = Wires()
    wires.network.duplicate = 1.0
    wires.send(1, 2, 5)
    wires.run()
    assert wires.got[2] == [(1, 5), (1, 5)]


def test_loss_between_peers_is_silent_and_towards_storage_breaks_the_channel() -> None:
    wires = Wires()
    wires.network.loss = 1.0
    wires.send(1, 2, 5)
    wires.send(1, 0, 6)
    wires.send(3, 0, 7)
    wires.network.loss = 0.0
    wires.send(1, 2, 8)
    wires.run()
    assert wires.got == {2: [(1, 8)]}
    assert wires.network.lost == 3
    pairs = [(0, 1), (1, 0), (0, 3), (3, 0)]
    assert wires.since(1.0) == [(1.1, *pair, False) for pair in pairs] + [(1.3, *pair, True) for pair in pairs]


# --- faults -----------------------------------------------------------------------------------------
def test_a_cut_kills_one_direction_until_both_ends_notice() -> None:
    wires = Wires()
    wires.send(1, 2, 1)
    wires.network.cut(1, 2)
    wires.send(1, 2, 2)
    wires.send(2, 1, 3)
    wires.run(0.05)
    assert wires.got == {2: [(1, 1)], 1: [(2, 3)]}
    wires.run(1.0)
    assert wires.since(1.0) == [(1.1, 1, 2, False), (1.1, 2, 1, False)]
    assert not wires.network.is_up(1, 2)
    begin = wires.kernel.now
    wires.network.uncut(1, 2)
    wires.run()
    assert wires.since(begin) == [(begin + 0.2, 1, 2, True), (begin + 0.2, 2, 1, True)]
    wires.send(1, 2, 4)
    wires.run()
    assert wires.got[2] == [(1, 1), (1, 4)]


def test_a_partition_leaves_each_side_to_itself() -> None:
    wires = Wires()
    wires.network.partition({1, 2})
    for frm, to in ((1, 2), (1, 3), (3, 0), (0, 1)):
        wires.send(frm, to, 10 * frm + to)
    wires.run()
    assert wires.got == {2: [(1, 12)], 0: [(3, 30)]}
    assert {told[1:] for told in wires.since(1.0)} == {
        (one, other, False) for one in range(4) for other in range(4) if (one in {1, 2}) != (other in {1, 2})
    }
    begin = wires.kernel.now
    wires.network.heal()
    wires.run()
    assert len(wires.since(begin)) == 8
    assert all(up for _, _, _, up in wires.since(begin))


def test_partitions_that_overlap_end_one_by_one() -> None:
    wires = Wires()
    wires.network.partition([1])
    wires.network.partition([1, 2])
    wires.network.unpartition([1])
    wires.run()
    assert wires.network.reaches(1, 2)
    assert not wires.network.reaches(2, 3)
    wires.network.unpartition([2, 1])
    assert wires.network.reaches(2, 3)


def test_what_is_in_flight_to_a_process_that_ends_is_lost() -> None:
    wires = Wires()
    wires.send(1, 2, 1)
    wires.send(2, 1, 2)
    wires.network.crash(2)
    wires.network.boot(2)
    wires.run()
    assert wires.got == {}
    assert wires.network.lost == 2
    assert [told[1:] for told in wires.since(1.0) if 1 in told[1:3]] == [
        (1, 2, False),
        (2, 1, False),
        (1, 2, True),
        (2, 1, True),
    ]
    wires.send(1, 2, 3)
    wires.run()
    assert wires.got == {2: [(1, 3)]}


def test_beyond_a_mesh_a_dead_peer_is_noticed_by_who_sends() -> None:
    wires = Wires(is_mesh=False)
    assert {told[1:3] for told in wires.told} == {(0, 1), (1, 0), (0, 2), (2, 0), (0, 3), (3, 0)}
    wires.network.crash(2)
    wires.send(1, 2, 1)
    wires.run()
    assert [told[1:] for told in wires.since(1.0)] == [(0, 2, False), (1, 2, False)]
    begin = wires.kernel.now
    wires.network.boot(2)
    wires.run()
    assert sorted(told[1:] for told in wires.since(begin)) == [(0, 2, True), (1, 2, True), (2, 0, True), (2, 1, True)]
    wires.send(1, 2, 2)
    wires.run()
    assert wires.got == {2: [(1, 2)]}


def test_beyond_a_mesh_a_partition_is_noticed_by_who_sends() -> None:
    wires = Wires(is_mesh=False)
    wires.network.partition([1])
    wires.send(1, 2, 1)
    wires.send(2, 3, 2)
    wires.run()
    assert wires.got == {3: [(2, 2)]}
    assert {told[1:] for told in wires.since(1.0)} == {(1, 0, False), (0, 1, False), (1, 2, False), (2, 1, False)}
    wires.network.heal()
    wires.run()
    assert wires.network.is_up(1, 2)


def test_many_recipients_are_one_entry_and_count_each() -> None:
    wires = Wires(count=30)
    before = wires.kernel.events
    wires.network.send(0, list(range(1, 31)), message(1))
    wires.run()
    assert wires.kernel.events - before == 30
    assert {to: len(got) for to, got in wires.got.items()} == dict.fromkeys(range(1, 31), 1)
