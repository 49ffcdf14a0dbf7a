"""The embedded service with real processes: start, emit, quorum, commit, flush, stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scichain_wf import audit, limits
from scichain_wf.client.service import start
from scichain_wf.client.spool import write_spool
from scichain_wf.crypto.hashing import sha256
from scichain_wf.errors import LedgerCorrupt, LedgerError, PeerError, UsageError, VerificationError
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.text import digest_text
from scichain_wf.model.transaction import Transaction
from tests.integration.service_kit import (
    Records,
    assert_committed_once,
    assert_gone,
    assert_verifies,
    committed,
    emit,
    is_alive,
    long_chain,
    running,
    wait_until,
)


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    return tmp_path / "a chain"


def test_three_agents_certify_what_hooks_append(chain: Path) -> None:
    """Spec: SAFE-4, LOSS-1."""
    with running(chain, 3) as service:
        records = Records(service.chain)
        emitted = records.tasks(40)
        emit(service, emitted)
        seen: list[tuple[int, int]] = []
        summary = service.flush(records.run, progress=lambda *counts: seen.append(counts))
        assert summary.transactions == {"quorum": 40, "poet": 0, "spool": 0}
        assert summary.tasks == 40
        assert len(summary.voters) >= 2
        assert summary.voters[0].startswith("slot ")
        assert summary.trust_root == service.chain
        assert seen
    assert_committed_once(chain, emitted)


def test_every_agent_is_a_process_with_a_tail_of_its_own(chain: Path) -> None:
    with running(chain, 3) as service:
        assert len(set(service.pids.values())) == 4
        base = service.outboxes[0].parent
        assert base.is_relative_to("/dev/shm")
        inodes = {(tail / "data.mdb").stat().st_ino for tail in base.glob("tail-*")}
        assert len(inodes) == 3
        for pid in service.pids.values():
            assert is_alive(pid)


def test_one_agent_certifies_itself(chain: Path) -> None:
    with running(chain) as service:
        records = Records(service.chain)
        emit(service, records.tasks(5))
        summary = service.flush(records.run)
        assert summary.transactions["quorum"] == 5
        assert len(summary.voters) == 1


def test_tasks_that_depend_on_each_other_across_agents_are_never_contested(chain: Path) -> None:
    """Spec: HONEST-1."""
    with running(chain, 3) as service:
        records = Records(service.chain)
        emitted = [
            records.task(f"t{number}", [records.output_of(f"t{number - 1}")] if number else []) for number in range(12)
        ]
        emit(service, emitted)
        assert service.flush(records.run).transactions == {"quorum": 12, "poet": 0, "spool": 0}
    assert_committed_once(chain, emitted)


def test_a_changed_input_is_contested_and_its_record_kept(chain: Path) -> None:
    """Spec: SAFE-5."""
    with running(chain, 3) as service:
        records = Records(service.chain)
        first = [records.task("made")]
        emit(service, first)
        service.flush(records.run)
        second = [records.task("used", [records.output_of("made", b"edited by hand")])]
        emit(service, second)
        # Nothing is under way that could explain the input, so the flush does not wait for it.
        summary = service.flush(records.run, timeout_s=8)
        assert summary.transactions == {"quorum": 1, "poet": 1, "spool": 0}
    assert {record.id for record in first + second} == set(committed(chain))


def test_a_second_run_goes_on_with_the_same_chain(chain: Path) -> None:
    """Spec: SAFE-1. What a run leaves behind is a prefix of what the next one leaves."""
    everything: list[Transaction] = []
    checkpoints: list[bytes] = []
    for nodes in (3, 1, 2):
        with running(chain, nodes) as service:
            records = Records(service.chain)
            emitted = records.tasks(6, prefix=f"run{nodes}-")
            emit(service, emitted)
            assert service.flush(records.run).transactions["quorum"] == 6
            everything += emitted
        checkpoints.append(ChainLayout(chain).checkpoint.read_bytes())
    assert_committed_once(chain, everything)
    for kept in checkpoints:
        assert_verifies(chain, kept)


def test_a_long_chain_gives_late_agents_a_filter_of_what_they_do_not_hold(chain: Path) -> None:
    """Without it, they could not tell a new source from an artifact of long ago. Spec: LIVE-2."""
    build = long_chain(chain, limits.JOIN_LINKS_MAX + 100)
    with running(chain, 3) as service:
        records = Records(service.chain)
        known = records.task("uses an old file", [build.artifact("f2", b"1") | {"origin": "source"}])

        def quorum_reached() -> bool:
            emit(service, [records.task(f"new {time.monotonic_ns()}", [new_source()])])
            return service.flush(records.run).transactions["quorum"] > 0

        wait_until(quorum_reached, "a verdict on a new source")
        emit(service, [known])
        assert service.flush(records.run).tasks >= 2
    assert_verifies(chain)


def new_source() -> JsonObject:
    content = os.urandom(8)
    return {
        "uri": f"work:00112233445566aa/source-{content.hex()}",
        "role": "file",
        "state": "file",
        "digest": digest_text(sha256(content)),
        "size_bytes": 8,
        "origin": "source",
    }


def test_what_is_in_the_spool_is_adopted_and_counted(chain: Path) -> None:
    with running(chain, 2) as service:
        records = Records(service.chain)
        spooled = records.tasks(3, prefix="spooled")
        for record in spooled:
            write_spool(service.spool, record.encode())
        emitted = records.tasks(2)
        emit(service, emitted)
        summary = service.flush(records.run)
        assert summary.transactions == {"quorum": 2, "poet": 0, "spool": 3}
        assert not list((service.spool / "new").iterdir())
    assert_committed_once(chain, spooled + emitted)


def test_what_was_appended_and_not_flushed_is_committed_by_stop(chain: Path) -> None:
    with running(chain, 2) as service:
        emitted = Records(service.chain).tasks(30)
        emit(service, emitted)
    assert_committed_once(chain, emitted)


def test_a_burst_larger_than_one_look_is_flushed_whole(chain: Path) -> None:
    """Spec: LOSS-1. More than the agents read at once, and more than they keep in flight."""
    with running(chain, 2) as service:
        records = Records(service.chain)
        emitted = records.tasks(4_000)
        emit(service, emitted)
        summary = service.flush(records.run, timeout_s=120)
        assert sum(summary.transactions.values()) == summary.tasks == 4_000
    assert_committed_once(chain, emitted)


def test_the_same_record_twice_is_committed_once(chain: Path) -> None:
    """Spec: SAFE-6."""
    with running(chain) as service:
        records = Records(service.chain)
        emitted = records.tasks(3)
        emit(service, emitted + emitted)
        assert service.flush(records.run).tasks == 3
        emit(service, emitted)
        assert service.flush(records.run).transactions["quorum"] == 3
    assert_committed_once(chain, emitted)


def test_what_cannot_be_recorded_is_set_aside_and_stops_nothing(chain: Path) -> None:
    from scichain_wf.client.outbox import OutboxWriter

    with running(chain) as service:
        records = Records(service.chain)
        OutboxWriter(service.outboxes[0]).append(b"not a transaction")
        OutboxWriter(service.outboxes[0]).append(Records(bytes(range(32))).task("of another chain").encode())
        emitted = records.tasks(1)
        emit(service, emitted)
        assert service.flush(records.run).tasks == 1
        assert len(list((chain / "refused" / "new").iterdir())) == 2
    assert_committed_once(chain, emitted)


def test_the_checkpoint_names_the_head_and_is_signed(chain: Path) -> None:
    with running(chain, 2) as service:
        records = Records(service.chain)
        emit(service, records.tasks(5))
        summary = service.flush(records.run)
        checkpoint = Checkpoint.parse(ChainLayout(chain).checkpoint.read_bytes())
        assert checkpoint.chain == service.chain
        assert checkpoint.size == summary.head_height + 1


def test_keys_and_secrets_are_in_no_file_argument_or_environment(chain: Path) -> None:
    with running(chain, 2) as service:
        seeds = [path.read_text().split()[1] for path in (chain / "keys").iterdir()]
        assert len(seeds) == 2
        for path in (chain / "keys").iterdir():
            assert path.stat().st_mode & 0o777 == 0o600
        log = (chain / "run" / "storage.log").read_text()
        for seed in seeds:
            assert seed not in log
        assert "PRIVATE KEY" not in log
        for pid in service.pids.values():
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            assert b"PRIVATE" not in command
            assert not any(seed.encode() in command for seed in seeds)


def test_no_zeromq_is_loaded_anywhere(chain: Path) -> None:
    with running(chain, 2) as service:
        for pid in service.pids.values():
            assert "zmq" not in Path(f"/proc/{pid}/maps").read_text()


def test_a_chain_in_use_is_refused_and_not_disturbed(chain: Path) -> None:
    """Spec: SAFE-8, the part within one host."""
    with running(chain) as service:
        with pytest.raises(LedgerError, match=r"in use: its storage node is process \d+"):
            start(chain)
        records = Records(service.chain)
        emit(service, records.tasks(1))
        assert service.flush(records.run).tasks == 1


def test_a_directory_that_is_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("data")
    with pytest.raises(LedgerError, match="not a chain and not empty"):
        start(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
    with pytest.raises(LedgerError, match=r"not a directory|cannot be used"):
        start(tmp_path / "precious.txt")


def test_a_chain_that_contradicts_its_trust_root_or_checkpoint_is_refused(chain: Path) -> None:
    """Spec: SAFE-7, what is decided without peers."""
    with running(chain) as service:
        records = Records(service.chain)
        emit(service, records.tasks(2))
        service.flush(records.run)
    layout = ChainLayout(chain)
    root, checkpoint = layout.trust_root.read_text(), layout.checkpoint.read_bytes()
    layout.trust_root.write_text(root.replace(root[-3], "0" if root[-3] != "0" else "1"))
    with pytest.raises(LedgerCorrupt, match="another chain"):
        start(chain)
    layout.trust_root.write_text(root)
    parsed = Checkpoint.parse(checkpoint)
    layout.checkpoint.write_text(Checkpoint(parsed.chain, parsed.size + 1, parsed.root, parsed.signatures).text())
    with pytest.raises(VerificationError, match="rolled back or exchanged"):
        start(chain)
    layout.checkpoint.write_bytes(checkpoint)
    with running(chain):
        pass


def test_an_interrupted_creation_is_finished_by_the_next_start(chain: Path) -> None:
    with running(chain) as service:
        first = service.chain
    ChainLayout(chain).trust_root.unlink()
    with running(chain) as service:
        assert service.chain == first
    assert ChainLayout(chain).trust_root.exists()


@pytest.mark.parametrize("nodes", [0, 65])
def test_a_number_of_nodes_out_of_range_starts_nothing(chain: Path, nodes: int) -> None:
    with pytest.raises(UsageError, match="nodes"):
        start(chain, nodes)
    assert not chain.exists()


def test_stop_is_idempotent_and_a_stopped_service_says_so(chain: Path) -> None:
    service = start(chain)
    service.stop()
    service.stop()
    assert_gone(service)
    with pytest.raises(UsageError, match="was stopped"):
        service.flush(bytes(16))


def test_a_fork_of_the_engine_cannot_use_or_end_the_service(chain: Path) -> None:
    with running(chain) as service:
        child = os.fork()
        if child == 0:
            try:
                service.stop()
                service.flush(bytes(16))
            except UsageError:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert is_alive(service.pids["storage"])


def test_a_service_ends_although_a_fork_of_the_engine_holds_its_pipe(chain: Path) -> None:
    """As a pool of worker processes does that is still there."""
    with running(chain) as service:
        emitted = Records(service.chain).tasks(3)
        emit(service, emitted)
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        assert_committed_once(chain, emitted)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_flush_has_a_deadline_and_says_where_the_records_are(chain: Path) -> None:
    with running(chain, 1) as service:
        records = Records(service.chain)
        os.kill(service.pids["slot-1"], signal.SIGSTOP)
        try:
            emit(service, records.tasks(1))
            with pytest.raises(PeerError, match=r"Nothing is lost.*the next run on this chain takes them in"):
                service.flush(records.run, timeout_s=0.5)
        finally:
            os.kill(service.pids["slot-1"], signal.SIGCONT)
        assert service.flush(records.run).tasks == 1


def test_the_engines_death_drains_and_ends_the_service(chain: Path) -> None:
    """Killed without a word, with a child of its own that keeps its pipes open."""
    program = (
        "import os, sys, time; from pathlib import Path\n"
        f"sys.path.append({os.fspath(Path(__file__).parents[2])!r})\n"
        "from scichain_wf.client.service import start\n"
        "from tests.integration.service_kit import Records, emit\n"
        f"service = start(Path({str(chain)!r}), 2)\n"
        "records = Records(service.chain).tasks(20)\n"
        "emit(service, records)\n"
        "child = os.fork()\n"
        "if child == 0: os.closerange(0, 3); time.sleep(60); os._exit(0)\n"
        "print(child, service.pids['storage'], service.outboxes[0].parent, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    engine = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert engine.returncode == -9, engine.stderr
    child, pid, base = engine.stdout.split()
    try:
        wait_until(lambda: not is_alive(int(pid)), "end of the service")
        assert is_alive(int(child))
    finally:
        os.kill(int(child), signal.SIGKILL)
    assert not Path(base).exists()
    assert len(committed(chain)) == 20


def test_every_agent_cosigns_the_last_checkpoint(chain: Path) -> None:
    """Spec: SAFE-7. Who keeps it has the word of all of them."""
    with running(chain, 3) as service:
        records = Records(service.chain)
        emit(service, records.tasks(5))
        service.flush(records.run)
    result = audit.verify_chain(chain, jobs=1)
    assert result.head is not None
    assert result.head.checkpoint_size == result.head.size
    assert result.head.cosigned == (1, 2, 3)
