"""Several hosts on one chain: the real storage node and agents, each with a network, pids and memory of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.service_kit import assert_committed_once, wait_until
from tests.testbed import Bed, needs
from tests.testbed.bed import leftovers
from tests.testbed.cluster import Cluster

pytestmark = needs.bed


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A storage node and three agents on four hosts."""
    with Bed(tmp_path, nodes=4) as bed, Cluster(bed) as made:
        yield made
    assert not leftovers(os.getpid())


def test_three_hosts_commit_by_quorum_and_share_nothing_but_the_directory(cluster: Cluster) -> None:
    """Spec: SAFE-4, LOSS-1."""
    emitted = cluster.records.tasks(30)
    for slot in cluster.slots:
        cluster.emit(slot, emitted[slot - 1 :: 3])
    assert cluster.wait_committed(emitted) == {"quorum": 30}
    assert cluster.voters(emitted) == {1, 2, 3}
    ids: dict[str, set[int]] = {kind: set() for kind in ("pid", "net", "mnt", "ipc", "uts")}
    inodes = set()
    for slot in cluster.slots:
        agent = cluster.agent(slot).pid
        for kind, seen in ids.items():
            seen.add(os.stat(f"/proc/{agent}/ns/{kind}").st_ino)
        status = os.stat(cluster.host(slot).path(cluster.outbox(slot).with_name(f"tail-{slot}") / "data.mdb"))
        inodes.add((status.st_dev, status.st_ino))
        for other in cluster.slots:
            assert cluster.host(slot).path(cluster.outbox(other)).exists() == (slot == other)
    assert all(len(seen) == 3 for seen in ids.values())
    assert len(inodes) == 3
    assert {member.host for member in cluster.epochs()[-1].members} == {"n2", "n3", "n4"}
    cluster.stop()
    assert cluster.storage.wait() == 0
    assert [cluster.agent(slot).wait() for slot in cluster.slots] == [0, 0, 0]
    assert not any(cluster.host(slot).path("/dev/shm/scichain-0").exists() for slot in cluster.slots)
    assert not (cluster.chain / "run" / "tokens").exists()
    assert_committed_once(cluster.chain, emitted)


def test_a_partitioned_host_stops_nobody_and_catches_up(cluster: Cluster) -> None:
    """Spec: LIVE-1, LIVE-2, CONV-1, LOSS-1."""
    bed, records = cluster.bed, cluster.records
    bed.partition([cluster.host(3)])
    here, there = records.tasks(10, "majority"), records.tasks(10, "alone")
    cluster.emit(3, there)
    cluster.emit(1, here[::2])
    cluster.emit(2, here[1::2])
    assert cluster.wait_committed(here) == {"quorum": 10}
    assert cluster.voters(here) == {1, 2}
    assert not cluster.has_any(there)
    bed.heal()
    cluster.wait_committed(there)
    # It votes again on what builds on links that it did not see being made.
    wait_until(lambda: 3 in cluster.voters_of_new(1), "a verdict of the host that was cut off")
    assert_committed_once(cluster.chain, here + there)


def test_links_cut_one_way_between_agents_stop_nobody(cluster: Cluster) -> None:
    """Slot 1 hears nothing of slot 3, though slot 3 hears slot 1. Spec: LIVE-1, LIVE-2."""
    cluster.bed.cut(cluster.host(3), cluster.host(1))
    emitted = cluster.records.tasks(15)
    for slot in cluster.slots:
        cluster.emit(slot, emitted[slot - 1 :: 3])
    assert cluster.wait_committed(emitted) == {"quorum": 15}
    cluster.bed.heal()
    wait_until(lambda: 3 in cluster.voters_of_new(1), "a verdict of the other side")
    assert_committed_once(cluster.chain, emitted)


def test_a_host_that_hears_storage_but_cannot_answer_stops_nobody(cluster: Cluster) -> None:
    """Spec: LIVE-1, LOSS-1."""
    cluster.bed.cut(cluster.host(2), cluster.storage_host)
    stuck, others = cluster.records.tasks(5, "stuck"), cluster.records.tasks(10, "others")
    cluster.emit(2, stuck)
    cluster.emit(1, others)
    cluster.wait_committed(others)
    cluster.bed.heal()
    cluster.wait_committed(stuck)
    assert_committed_once(cluster.chain, stuck + others)


@needs.taps
def test_slow_and_lossy_wires_lose_nothing(cluster: Cluster) -> None:
    """Delay with disorder and duplicates on one host, loss on another, a thin wire on a third. Spec: LOSS-1, SAFE-6."""
    cluster.bed.delay(cluster.host(1), 20, jitter_ms=15, duplicates_percent=5)
    cluster.host(2).lose(10)
    cluster.bed.rate(cluster.host(3), 2_000)
    emitted = cluster.records.tasks(60)
    for slot in cluster.slots:
        cluster.emit(slot, emitted[slot - 1 :: 3])
    cluster.wait_committed(emitted)
    assert_committed_once(cluster.chain, emitted)


def test_a_host_whose_processes_are_killed_joins_anew_and_takes_over_its_own_outbox(cluster: Cluster) -> None:
    """Spec: LOSS-1, SAFE-6."""
    before = cluster.records.tasks(9, "before")
    cluster.emit(3, before)
    cluster.wait_committed(before)
    first = cluster.epochs()[-1]
    # What it acknowledged when nothing of it could leave any more.
    cluster.bed.partition([cluster.host(3)])
    after = cluster.records.tasks(9, "after")
    cluster.emit(3, after)
    cluster.host(3).kill()
    cluster.bed.heal()
    others = cluster.records.tasks(6, "others")
    cluster.emit(1, others)
    assert cluster.wait_committed(others) == {"quorum": 6}
    assert not cluster.has_any(after)
    cluster.start_agent(3)
    cluster.wait_committed(after)
    last = cluster.epochs()[-1]
    assert last.generation == first.generation
    assert last.epoch > first.epoch
    keys = [{member.slot: member.key for member in epoch.members} for epoch in (first, last)]
    assert keys[0][3] != keys[1][3]
    assert all(keys[0][slot] == keys[1][slot] for slot in (1, 2))
    assert_committed_once(cluster.chain, before + after + others)


def test_a_host_that_lost_its_memory_joins_anew_and_what_it_had_committed_stays(cluster: Cluster) -> None:
    """Spec: LOSS-1, LIVE-2. What was acknowledged only locally is lost with the node, and nothing else."""
    before = cluster.records.tasks(6, "before")
    cluster.emit(2, before)
    cluster.wait_committed(before)
    cluster.host(2).power_off()
    meanwhile = cluster.records.tasks(6, "meanwhile")
    cluster.emit(1, meanwhile)
    assert cluster.wait_committed(meanwhile) == {"quorum": 6}
    cluster.host(2).boot()
    cluster.start_agent(2)
    after = cluster.records.tasks(6, "after")
    cluster.emit(2, after)
    assert cluster.wait_committed(after) == {"quorum": 6}
    assert_committed_once(cluster.chain, before + meanwhile + after)


@needs.cgroups
def test_nobody_waits_for_a_frozen_host(cluster: Cluster) -> None:
    """Spec: LIVE-2, LOSS-1."""
    frozen, others = cluster.records.tasks(5, "frozen"), cluster.records.tasks(12, "others")
    cluster.emit(1, frozen)
    cluster.host(1).freeze()
    cluster.emit(2, others[::2])
    cluster.emit(3, others[1::2])
    assert cluster.wait_committed(others) == {"quorum": 12}
    assert cluster.voters(others) == {2, 3}
    cluster.host(1).thaw()
    cluster.wait_committed(frozen)
    assert_committed_once(cluster.chain, frozen + others)


def test_agents_join_a_storage_node_that_was_killed_and_started_again(cluster: Cluster) -> None:
    """Spec: LOSS-1, SAFE-6."""
    before, after = cluster.records.tasks(6, "before"), cluster.records.tasks(9, "after")
    cluster.emit(1, before)
    cluster.wait_committed(before)
    cluster.storage_host.kill()
    for slot in cluster.slots:
        cluster.emit(slot, after[slot - 1 :: 3])
    cluster.start_storage(cluster.storage_host)
    for slot in cluster.slots:
        cluster.wait_joined(slot)
    cluster.wait_committed(after)
    assert_committed_once(cluster.chain, before + after)


def test_a_second_agent_of_a_slot_takes_it_over_for_good(cluster: Cluster) -> None:
    """Its predecessor, on another host, must not come back for the slot. Spec: LOSS-1."""
    first = cluster.agent(1)
    other = cluster.start_agent(1, host=cluster.storage_host)
    emitted = cluster.records.tasks(5)
    cluster.emit(2, emitted)
    assert cluster.wait_committed(emitted) == {"quorum": 5}
    epochs = len(cluster.epochs())
    wait_until(lambda: "has been filled by another process since" in cluster.logs(), "a refusal")
    assert len(cluster.epochs()) == epochs
    first.signal(signal.SIGTERM)
    cluster.stop()
    assert other.wait() == 0


def test_an_agent_that_dies_is_started_again_and_takes_over_its_own_outbox(cluster: Cluster) -> None:
    """Spec: LOSS-1, SAFE-6."""
    host, command = cluster.host(2), cluster.agent(2).pid
    (agent,) = host.pids - {command}
    os.kill(agent, signal.SIGSTOP)
    emitted = cluster.records.tasks(9)
    cluster.emit(2, emitted)
    os.kill(agent, signal.SIGKILL)
    cluster.wait_joined(2)
    cluster.wait_committed(emitted)
    assert command in host.pids
    assert_committed_once(cluster.chain, emitted)


@needs.pfs
def test_a_chain_on_a_file_system_with_a_cache_per_host(tmp_path: Path) -> None:
    """One host writes; what the others read there (address, tokens) is only ever replaced. Spec: SAFE-1, LOSS-1."""
    with Bed(tmp_path, nodes=3) as bed:
        (seen,) = {bed.mount_pfs(node) for node in bed.nodes}
        with Cluster(bed, seen / "chain", bed.directory / "pfs.real" / "chain") as cluster:
            emitted = cluster.records.tasks(20)
            cluster.emit(1, emitted[::2])
            cluster.emit(2, emitted[1::2])
            assert cluster.wait_committed(emitted) == {"quorum": 20}
            cluster.storage.signal(signal.SIGTERM)
            assert cluster.storage.wait() == 0
            cluster.start_storage(cluster.storage_host)
            for slot in cluster.slots:
                cluster.wait_joined(slot)
            more = cluster.records.tasks(5, "more")
            cluster.emit(1, more)
            cluster.wait_committed(more)
            assert_committed_once(cluster.chain, emitted + more)


def test_another_host_takes_over_from_a_storage_host_that_is_lost(cluster: Cluster) -> None:
    """Spec: LOSS-1, SAFE-1. It waits until the lease of the one before is over, and writes to a ledger of its own."""
    before, after = cluster.records.tasks(6, "before"), cluster.records.tasks(9, "after")
    cluster.emit(1, before)
    cluster.wait_committed(before)
    cluster.storage_host.power_off()
    for slot in cluster.slots:
        cluster.emit(slot, after[slot - 1 :: 3])
    cluster.start_storage(cluster.host(3))
    for slot in cluster.slots:
        cluster.wait_joined(slot)
    cluster.wait_committed(after)
    assert_committed_once(cluster.chain, before + after)
