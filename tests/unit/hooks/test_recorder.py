"""A transaction reaches an agent, else the spool, else the list of problems; never an exception. Spec: HOOK-1."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.client.outbox import OutboxReader, create_outbox, outbox_directory
from scichain_wf.client.spool import list_spool, read_spool
from scichain_wf.hooks.recorder import Delivery, Recorder, new_run_id
from scichain_wf.hooks.records import Engine, TaskFacts, task_body
from scichain_wf.model.bodies import Kind
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.transaction import RunId, Transaction

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
