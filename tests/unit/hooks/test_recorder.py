"""A transaction reaches an agent, else the spool, else the list of problems; never an exception. Spec: HOOK-1."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.client.burst import burst_directory
from scichain_wf.client.outbox import OutboxReader, create_outbox, outbox_directory
from scichain_wf.client.spool import list_spool, read_spool
from scichain_wf.hooks.closing import detour_lines
from scichain_wf.hooks.recorder import Delivery, Recorder, new_run_id
from scichain_wf.hooks.records import Engine, TaskFacts, task_body
from scichain_wf.model.bodies import Kind
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.transaction import RunId, Transaction
from scichain_wf.node import shm

CHAIN = bytes(range(32))
NOTE: JsonObject = {"text": "x"}


@pytest.fixture
def outboxes(tmp_path: Path) -> list[Path]:
    directories = [outbox_directory(CHAIN, slot, tmp_path) for slot in (1, 2, 3)]
    for directory in directories:
        create_outbox(directory)
    return directories


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def received(directory: Path) -> list[Transaction]:
    return [Transaction.decode(frame.data) for frame in OutboxReader(directory).read()]


def test_transaction_arrives_complete_and_of_this_run(outboxes: list[Path], spool: Path) -> None:
    recorder = Recorder(CHAIN, new_run_id(), outboxes[:1], spool)
    assert recorder.emit(Kind.NOTE, NOTE) is Delivery.OUTBOX
    [found] = received(outboxes[0])
    assert (found.chain, found.run, found.kind, found.body, found.host) == (
        CHAIN,
        recorder.run,
        "note",
        NOTE,
        recorder.host,
    )
    assert found.key[6] >> 4 == 7
    assert recorder.count(Kind.NOTE) == 1
    assert recorder.problems == []


def test_records_of_one_task_go_to_one_agent_and_tasks_are_spread(outboxes: list[Path], spool: Path) -> None:
    recorder = Recorder(CHAIN, new_run_id(), outboxes, spool)
    for task in range(60):
        for _ in range(2):
            recorder.emit(Kind.NOTE, {"text": str(task)}, f"task{task}")
    by_agent = [{str(found.body["text"]) for found in received(directory)} for directory in outboxes]
    assert sum(map(len, by_agent)) == 60
    assert min(map(len, by_agent)) > 5


def test_dead_agents_outbox_is_passed_over(outboxes: list[Path], spool: Path) -> None:
    outboxes[0].rmdir()
    outboxes[1].rmdir()
    recorder = Recorder(CHAIN, new_run_id(), outboxes, spool)
    for task in range(10):
        assert recorder.emit(Kind.NOTE, NOTE, str(task)) is Delivery.OUTBOX
    assert len(received(outboxes[2])) == 10


def test_replaced_directory_is_met_at_once(outboxes: list[Path], spool: Path) -> None:
    recorder = Recorder(CHAIN, new_run_id(), outboxes[:1], spool)
    recorder.emit(Kind.NOTE, NOTE)
    outboxes[0].rename(outboxes[0].parent / "drain.x")
    create_outbox(outboxes[0])
    assert recorder.emit(Kind.NOTE, NOTE) is Delivery.OUTBOX
    assert len(received(outboxes[0])) == 1


def test_without_an_agent_records_are_spooled(spool: Path) -> None:
    recorder = Recorder(CHAIN, new_run_id(), [], spool)
    assert recorder.emit(Kind.NOTE, NOTE) is Delivery.SPOOL
    [path] = list_spool(spool)
    assert Transaction.decode(read_spool(path)).body == NOTE
    assert recorder.count_all(Delivery.SPOOL) == 1


def test_what_cannot_be_kept_anywhere_is_a_problem_and_no_exception(outboxes: list[Path], tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    for directory in outboxes:
        directory.chmod(0o777)
    recorder = Recorder(CHAIN, new_run_id(), outboxes, tmp_path / "spool")
    assert recorder.emit(Kind.NOTE, NOTE) is Delivery.LOST
    assert recorder.emit(Kind.NOTE, NOTE) is Delivery.LOST
    assert "spool" in recorder.problems[0]
    assert recorder.problems[0].endswith("(2 times)")
    assert recorder.count(Kind.NOTE) == 0
    for nowhere in ([], outboxes):
        assert Recorder(CHAIN, new_run_id(), nowhere, None).emit(Kind.NOTE, NOTE) is Delivery.LOST


def test_malformed_body_is_a_problem_and_no_exception(outboxes: list[Path], spool: Path) -> None:
    recorder = Recorder(CHAIN, new_run_id(), outboxes, spool)
    assert recorder.emit(Kind.NOTE, {"text": 1}) is Delivery.LOST
    assert recorder.emit(Kind.TASK, {}) is Delivery.LOST
    assert len(recorder.problems) == 2


def test_any_failure_inside_is_a_problem_and_no_exception(
    outboxes: list[Path], spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(size: int) -> bytes:
        raise NotImplementedError

    monkeypatch.setattr(os, "urandom", broken)
    recorder = Recorder(CHAIN, RunId(bytes(16)), outboxes, spool)
    assert recorder.emit(Kind.NOTE, NOTE) is Delivery.LOST
    assert "NotImplementedError" in recorder.problems[0]


def test_oversize_task_is_recorded_with_less_in_it(outboxes: list[Path], spool: Path) -> None:
    uri = f"work:{'0' * 16}/" + "x" * 600
    inputs: list[JsonObject] = [{"uri": f"{uri}{n}", "role": "0", "state": "absent"} for n in range(3_000)]
    facts = TaskFacts("r", "r", inputs=inputs, command="c" * 60_000)
    recorder = Recorder(CHAIN, new_run_id(), outboxes[:1], spool)
    assert recorder.emit(Kind.TASK, task_body(Engine("e", "1"), facts, "n", "u")) is Delivery.OUTBOX
    [found] = received(outboxes[0])
    assert found.body["truncated"] == ["command", "inputs"]
    assert len(found.body["inputs"]) == 1_500  # type: ignore[arg-type]


def test_problems_remembered_are_bounded(spool: Path) -> None:
    recorder = Recorder(CHAIN, new_run_id(), [], spool)
    for number in range(100):
        recorder.problem(str(number))
    assert len(recorder.problems) == limits.PROBLEMS_KEPT_MAX + 1
    assert recorder.problems[-1] == f"further problems ({100 - limits.PROBLEMS_KEPT_MAX} times)"


def test_threads_and_forked_children_record_without_losing_any(outboxes: list[Path], spool: Path) -> None:
    recorder = Recorder(CHAIN, new_run_id(), outboxes[:1], spool)

    def work() -> None:
        for _ in range(50):
            recorder.emit(Kind.NOTE, NOTE)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.count(Kind.NOTE) == 200
    recorder._counting().acquire()  # as another thread might at the moment of a fork
    pid = os.fork()
    if pid == 0:
        os._exit(0 if recorder.emit(Kind.NOTE, NOTE) is Delivery.OUTBOX else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(received(outboxes[0])) == 201


def squat_file(directory: Path) -> None:
    directory.rmdir()
    directory.write_text("in the way")


def squat_symlink(directory: Path) -> None:
    directory.rename(directory.with_name("real"))
    directory.symlink_to("real")


def squat_open(directory: Path) -> None:
    directory.parent.chmod(0o777)


@pytest.mark.parametrize("squat", [squat_file, squat_symlink, squat_open])
def test_a_squatted_outbox_sends_everything_to_the_spool_and_one_reason_to_the_user(
    outboxes: list[Path], spool: Path, squat: Callable[[Path], None]
) -> None:
    squat(outboxes[0])
    recorder = Recorder(CHAIN, new_run_id(), outboxes[:1], spool)
    for _ in range(3):
        assert recorder.emit(Kind.NOTE, NOTE) is Delivery.SPOOL
    assert len(list_spool(spool)) == 3
    assert recorder.problems == []
    [line] = detour_lines(recorder.count_all(Delivery.SPOOL), recorder.detour)
    assert line.startswith(f"scichain: 3 records went through the spool: outbox {outboxes[0]}: ")
    assert not list((outboxes[0].parent / "real").glob("*"))


SMALL_SHARED_MEMORY = """
import sys
from pathlib import Path
from scichain_wf.client.burst import burst_directory
from scichain_wf.client.outbox import OutboxReader, create_outbox, outbox_directory
from scichain_wf.client.spool import list_spool
from scichain_wf.hooks.recorder import Delivery, Recorder, new_run_id
from scichain_wf.model.bodies import Kind
chain, spool = bytes(32), Path(sys.argv[1])
directory = outbox_directory(chain, 1)
create_outbox(directory)
recorder = Recorder(chain, new_run_id(), [directory], spool)
for _ in range(2000):
    recorder.emit(Kind.NOTE, {"text": "x" * 1000})
assert recorder.problems == []
assert recorder.count_all(Delivery.OUTBOX) > 500, recorder.sent
assert recorder.count_all(Delivery.SPOOL) == len(list_spool(spool)) > 500, recorder.sent
assert "No space left" in recorder.detour or "bytes fitted" in recorder.detour, recorder.detour
assert len(OutboxReader(directory).read()) == recorder.count_all(Delivery.OUTBOX)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small /dev/shm takes root")
def test_one_mebibyte_of_shared_memory_loses_nothing(tmp_path: Path) -> None:
    """Spec: LOSS-1."""
    mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm && exec \"$@\""
    command = ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-c", SMALL_SHARED_MEMORY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_stopped_hook_keeps_nobody_waiting(outboxes: list[Path], spool: Path) -> None:
    """Spec: HOOK-1."""
    recorder = Recorder(CHAIN, new_run_id(), outboxes[:1], spool)
    recorder.emit(Kind.NOTE, NOTE)
    children = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            while True:
                recorder.emit(Kind.NOTE, NOTE)
        children.append(pid)
    try:
        while len(list(outboxes[0].glob("*.outbox"))) < 4:
            time.sleep(0.01)
        for pid in children:
            os.kill(pid, signal.SIGSTOP)
            os.waitpid(pid, os.WUNTRACED)
        reader = OutboxReader(outboxes[0])
        while reader.read():
            pass
        for _ in range(200):
            assert recorder.emit(Kind.NOTE, NOTE) is Delivery.OUTBOX
        assert len(reader.read()) == 200
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def test_burst_buffer_comes_before_the_spool_where_there_are_agents(
    outboxes: list[Path], spool: Path, tmp_path: Path
) -> None:
    base = tmp_path / "burst"
    base.mkdir()
    recorder = Recorder(CHAIN, new_run_id(), outboxes, spool, burst=base)
    assert recorder.emit(Kind.NOTE, NOTE) is Delivery.OUTBOX
    for directory in outboxes:
        shm.turn_away(directory, away=True)
    assert recorder.emit(Kind.NOTE, NOTE) is Delivery.SPOOL
    assert len(list_spool(burst_directory(base, CHAIN))) == 1
    assert list_spool(spool) == []
    assert "can take no more" in recorder.detour
    base.chmod(0o777)
    assert recorder.emit(Kind.NOTE, NOTE) is Delivery.SPOOL
    assert len(list_spool(spool)) == 1
    assert recorder.problems == []
    base.chmod(0o700)
    away = Recorder(CHAIN, new_run_id(), [], spool, burst=base)  # nobody on this host would read it
    assert away.emit(Kind.NOTE, NOTE) is Delivery.SPOOL
    assert (len(list_spool(burst_directory(base, CHAIN))), len(list_spool(spool))) == (1, 2)


def test_refusal_of_the_burst_buffer_is_told_too(outboxes: list[Path], spool: Path, tmp_path: Path) -> None:
    shm.turn_away(outboxes[0], away=True)
    recorder = Recorder(CHAIN, new_run_id(), outboxes[:1], spool, burst=tmp_path / "missing")
    assert recorder.emit(Kind.NOTE, NOTE) is Delivery.SPOOL
    assert "can take no more" in recorder.detour
    assert f"burst buffer {tmp_path / 'missing'}" in recorder.detour
    nowhere = Recorder(CHAIN, new_run_id(), outboxes[:1], None, burst=tmp_path / "missing")
    assert nowhere.emit(Kind.NOTE, NOTE) is Delivery.LOST
    assert "burst buffer" in nowhere.problems[0]
