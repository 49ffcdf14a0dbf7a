"""What is around the processes: no ZeroMQ in them, shared memory that cannot be used, a hook that is stopped."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scichain_wf.client.service import start
from scichain_wf.hooks.recorder import Delivery, Recorder
from scichain_wf.model.bodies import Kind
from scichain_wf.model.transaction import RunId
from tests.integration import sockets
from tests.integration.kills import committed_tasks, hook
from tests.integration.service_kit import Records, assert_verifies, emit, running, wait_until

PROGRAM = [sys.executable, "-m", "scichain_wf"]
ROOT = Path(__file__).resolve().parents[2]
needs_mounts = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("unshare") is None, reason="mounting takes root"
)


def threads(pid: int) -> set[str]:
    return {re.sub(r"\d+", "", (task / "comm").read_text().strip()) for task in Path(f"/proc/{pid}/task").iterdir()}


def test_no_process_has_anything_of_zeromq(tmp_path: Path) -> None:
    """Modules, sockets and threads of agents, storage node and hook."""
    with running(tmp_path / "chain", 2) as service:
        records = Records(service.chain)
        emit(service, records.tasks(4))
        service.flush(records.run)
        for name, pid in service.pids.items():
            assert not re.search(r"zmq|zeromq", Path(f"/proc/{pid}/maps").read_text(), re.IGNORECASE)
            assert set(sockets.kinds(pid).values()) == {"tcp", "unix"}, name
            assert len(sockets.listening(pid)) == 1
            assert not [thread for thread in threads(pid) if "zmq" in thread.lower()]
        recorder = Recorder(service.chain, RunId(records.run), service.outboxes, service.spool)
        before, begun = sockets.sockets(os.getpid()), threads(os.getpid())
        assert recorder.emit(Kind.TASK, records.task("t").body) is Delivery.OUTBOX
        own = sockets.kinds(os.getpid())
        assert {own[inode] for inode in sockets.sockets(os.getpid()) - before} == {"unix"}  # its agent's doorbell
        assert threads(os.getpid()) == begun
        assert not {"zmq", "lmdb", "ssl", "asyncio"} & set(modules_of_a_hook())


def modules_of_a_hook() -> list[str]:
    """What a task's process loads in order to emit."""
    program = "import sys, scichain_wf.hooks.recorder; print(*(name.partition('.')[0] for name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return run.stdout.split()


def test_nobody_waits_for_a_hook_that_is_stopped(tmp_path: Path) -> None:
    """Wherever it is: in its emit or between two. It goes on later, and what it says then is not lost. Spec: LOSS-1."""
    chain, note = tmp_path / "chain", tmp_path / "note"
    service = start(chain, 2)
    records = Records(service.chain)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    stopped = context.Process(target=hook, args=(0, service, records.run, note, theirs))
    stopped.start()
    try:
        wait_until(lambda: note.exists() and note.read_text().count("\n") > 5, "its first tasks")
        os.kill(stopped.pid or 0, signal.SIGSTOP)
        others = records.tasks(50)
        emit(service, others)
        assert service.flush(records.run).tasks >= 50
        service.stop()
        os.kill(stopped.pid or 0, signal.SIGCONT)  # nobody is there any more: the spool takes what it has to say
        lines = note.read_text().count("\n")
        wait_until(lambda: note.read_text().count("\n") > lines + 3, "its last tasks")
    finally:
        os.kill(stopped.pid or 0, signal.SIGCONT)
        ours.send("end")
        stopped.join()
    with running(chain):
        pass
    noted = note.read_text().split()
    assert sorted(name for name in committed_tasks(chain) if name in noted) == sorted(noted)
    assert_verifies(chain)


@needs_mounts
@pytest.mark.parametrize(
    ("options", "prepared", "said"),
    [
        ("ro", "true", "Read-only file system"),
        ("mode=1777", "mkdir -m 700 $D && chown 12345 $D", "belongs to user 12345"),
    ],
    ids=["read-only", "another user's"],
)
def test_shared_memory_that_cannot_be_used_harms_no_command_and_is_named(
    tmp_path: Path, options: str, prepared: str, said: str
) -> None:
    """Spec: HOOK-1. The records wait in the spool."""
    run = in_namespace(options, prepared, tmp_path / "chain")
    assert (run.returncode, run.stdout) == (7, "done\n"), run.stderr
    assert said in run.stderr
    assert "waiting in" in run.stderr
    with running(tmp_path / "chain"):
        pass
    assert len(committed_tasks(tmp_path / "chain")) == 1


@needs_mounts
def test_one_mebibyte_of_shared_memory_suffices(tmp_path: Path) -> None:
    run = in_namespace("size=1m,mode=1777", "true", tmp_path / "chain")
    assert (run.returncode, run.stdout) == (7, "done\n"), run.stderr
    assert len(committed_tasks(tmp_path / "chain")) == 1


def in_namespace(options: str, prepared: str, chain: Path) -> subprocess.CompletedProcess[str]:
    """A recorded command that ends with 7, where `/dev/shm` is a tmpfs of its own."""
    script = f'mount -t tmpfs -o {options} none /dev/shm && D=/dev/shm/scichain-0 && {prepared} && exec "$@"'
    command = [*PROGRAM, "run", "--chain", str(chain), "--", "sh", "-c", "echo done; exit 7"]
    arguments = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=ROOT)



FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
needs_faketime = pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")


def wrong_clock(days: int) -> dict[str, str]:
    """The environment of a process whose clocks are off by so much, all alike: durations are right.

    With the monotonic clock left out (DONT_FAKE_MONOTONIC), every `time.sleep` fails under libfaketime 0.9.10.
    """
    return os.environ | {"LD_PRELOAD": str(FAKETIME), "FAKETIME": f"{days:+}d", "PYTHONPATH": str(ROOT)}


@needs_faketime
@pytest.mark.parametrize("days", [366, -366])
def test_a_clock_that_is_a_year_off_changes_times_and_nothing_else(tmp_path: Path, days: int) -> None:
    """Before and after a run with the right clock: order and validity do not come from clocks. Spec: SAFE-1, HOOK-1."""
    (tmp_path / "in").write_text("x")
    command = [*PROGRAM, "run", "-i", "in", "-o", "out", "--", "sh", "-c", "cp in out; exit 7"]
    right = os.environ | {"PYTHONPATH": str(ROOT)}
    for environment in (right, wrong_clock(days), right):
        run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 7, run.stderr
        assert "0 POET, 0 spool" in run.stderr
    assert_verifies(tmp_path / ".scichain")


@needs_faketime
def test_an_agent_with_a_wrong_clock_is_told_to_compare_clocks(tmp_path: Path) -> None:
    from scichain_wf.client.service import Others

    with start(tmp_path / "chain", 1, others=Others(1)) as service:
        command = [*PROGRAM, "node", "--chain", str(tmp_path / "chain"), "--slot", "2"]
        pipe = subprocess.PIPE
        agent = subprocess.Popen(command, env=wrong_clock(-366), stdout=pipe, stderr=subprocess.STDOUT, text=True)
        try:
            assert agent.stdout is not None
            lines = iter(agent.stdout.readline, "")
            assert any("compare the clocks of the two hosts" in line for line in lines)
        finally:
            agent.terminate()
            agent.communicate(timeout=60)
        records = Records(service.chain)
        emit(service, records.tasks(3))
        service.flush(records.run)
