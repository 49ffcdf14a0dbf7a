"""`scichain_wf.task` and `scichain_wf.run`: what a block did is recorded, and the block never notices."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import scichain_wf
from scichain_wf.client.spool import list_spool, read_spool
from scichain_wf.errors import ConfigError, LedgerError, SubmissionError, UsageError
from scichain_wf.hooks import runs, tasks
from scichain_wf.model.bodies import Kind
from scichain_wf.model.transaction import Transaction
from tests.unit.hooks.test_session import CHAIN, FakeService, install, recorded


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("SCICHAIN_RUN_ID", "SCICHAIN_RUN_CHAIN", "LOADEDMODULES", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "work"
    assert runs.State.run is None
    assert runs.State.own is None
    assert "SCICHAIN_RUN_ID" not in os.environ


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService(tmp_path)
    install(monkeypatch, lambda *_: fake.attended())
    return fake


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> object:
        raise LedgerError("no room")

    install(monkeypatch, refuse)


def bodies(service: FakeService) -> list[dict[str, Any]]:
    return [found.body for found in recorded(service)]


def of_kind(service: FakeService, kind: Kind) -> list[dict[str, Any]]:
    return [found.body for found in recorded(service) if found.kind == kind]


def test_a_task_alone_is_a_run_of_its_own(
    service: FakeService, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "in").write_text("x")
    with scichain_wf.task("step", inputs=["in"], outputs=[Path("out")], params={"n": 1}) as task:
        (here / "out").write_text("y")
    assert [found.kind for found in recorded(service)] == ["run-start", "intent", "task", "run-end"]
    begin, intent, done, end = bodies(service)
    assert begin["settings"]["python"] == sys.version.split()[0]
    assert (done["name"], done["task"], done["status"], done["params"]) == ("step", "step", "ok", {"n": 1})
    assert [item["state"] for item in [*done["inputs"], *done["outputs"]]] == ["file", "file"]
    assert intent["outputs"] == [done["outputs"][0]["uri"]]
    assert (end["status"], end["tally"]) == ("ok", {"planned": 1, "finished": 1, "failed": 0})
    assert task.delivery == "outbox"
    assert service.stopped == 1
    assert "check with" in capsys.readouterr().err


def test_tasks_of_one_run_know_who_made_their_inputs(service: FakeService, here: Path) -> None:
    with scichain_wf.run():
        with scichain_wf.task("make", outputs=["a"]):
            (here / "a").write_text("x")
        with scichain_wf.task("use", inputs=["a", "b"]), scichain_wf.task("use"):
            pass
    made, inner, used = of_kind(service, Kind.TASK)
    assert [found["task"] for found in (made, used, inner)] == ["make", "use", "use[n=2]"]
    first, second = used["inputs"]
    assert first["origin"] == "task:make"
    assert "origin" not in second
    assert len(of_kind(service, Kind.RUN_START)) == 1


def test_an_exception_is_recorded_and_goes_on(service: FakeService, here: Path) -> None:
    """Spec: HOOK-1."""
    with pytest.raises(ZeroDivisionError), scichain_wf.task("step", outputs=["left", "missing"]):
        (here / "left").write_text("partial")
        raise ZeroDivisionError("password=hunter2")
    [failed] = of_kind(service, Kind.TASK)
    assert failed["status"] == "failed"
    assert failed["error"] == {"class": "ZeroDivisionError", "message": "password=[redacted]"}
    assert [item["uri"].rpartition("/")[2] for item in failed["outputs"]] == ["left"]
    assert of_kind(service, Kind.RUN_END)[0]["status"] == "failed"


@pytest.mark.parametrize(
    ("error", "status", "exit_status"),
    [(KeyboardInterrupt(), "interrupted", None), (SystemExit(3), "failed", 3), (SystemExit("why"), "failed", 1),
     (SystemExit(0), "ok", None)],
)  # fmt: skip
def test_how_a_block_is_left_decides_its_status(
    service: FakeService, error: BaseException, status: str, exit_status: int | None
) -> None:
    with pytest.raises(type(error)), scichain_wf.task("step"):
        raise error
    [task] = of_kind(service, Kind.TASK)
    assert (task["status"], task.get("exit_status")) == (status, exit_status)


def test_an_exception_without_a_text_is_recorded_by_its_class(service: FakeService) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError

    with pytest.raises(Odd), scichain_wf.task("step"):
        raise Odd
    assert of_kind(service, Kind.TASK)[0]["error"] == {"class": "Odd"}


def test_files_can_be_named_while_the_task_runs(service: FakeService, here: Path) -> None:
    (here / "a").write_text("x")
    with scichain_wf.task("step", inputs=["a"]) as task:
        task.add_inputs("a", b"\xff")
        task.add_outputs("late")
        (here / "late").write_text("x")
    [done] = of_kind(service, Kind.TASK)
    assert [item["role"] for item in done["inputs"]] == ["0", "1", "2"]
    assert done["outputs"][0]["state"] == "file"


def test_relative_paths_are_against_the_directory_of_the_moment(
    service: FakeService, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "sub").mkdir()
    with scichain_wf.run():
        monkeypatch.chdir(here / "sub")
        with scichain_wf.task("step", outputs=["x"]):
            Path("x").write_text("")
            monkeypatch.chdir(here)
    [done] = of_kind(service, Kind.TASK)
    assert str(done["outputs"][0]["uri"]).endswith("/sub/x")


def test_a_run_that_cannot_be_recorded_runs_all_the_same(refused: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Spec: HOOK-1."""
    done = []
    with scichain_wf.run() as run, scichain_wf.task("step", inputs=["x"]) as task:
        done.append(1)
        task.add_inputs("y")
    assert done == [1]
    assert task.delivery is None
    assert not run.complete
    assert capsys.readouterr().err == "scichain: this run is not recorded: no room\n"


def test_a_broken_setting_leaves_the_program_alone_unless_strict(
    here: Path, service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spec: HOOK-1."""
    (here / "scichain.toml").write_text("nods = 1\n")
    with scichain_wf.task("step"):
        pass
    assert "did you mean 'nodes'" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="did you mean"), scichain_wf.run(strict=True):
        pytest.fail("begun")
    assert recorded(service) == []


def test_strict_begins_nothing_that_cannot_be_recorded(refused: None) -> None:
    with pytest.raises(LedgerError, match="no room"), scichain_wf.run(strict=True):
        pytest.fail("begun")


def test_strict_fails_a_task_whose_record_is_lost(service: FakeService, tmp_path: Path) -> None:
    def lose() -> None:
        service.outboxes[0].chmod(0o777)
        (tmp_path / "chain").mkdir(exist_ok=True)
        (tmp_path / "chain" / "spool").write_text("in the way")

    lose_at_once = scichain_wf.run(strict=True)
    with pytest.raises(SubmissionError, match="not begun"), lose_at_once:
        assert lose_at_once.recorder is not None
        lose_at_once.recorder._writers[0].close()
        lose()
        with scichain_wf.task("step"):
            pytest.fail("begun")
    service.outboxes[0].chmod(0o700)
    run = scichain_wf.run(strict=True)
    with pytest.raises(SubmissionError, match="record was lost"), run, scichain_wf.task("step"):
        assert run.recorder is not None
        run.recorder._writers[0].close()
        service.outboxes[0].chmod(0o777)


def test_strict_fails_a_run_that_is_incomplete_but_never_hides_an_exception(service: FakeService) -> None:
    service.flush_error = LedgerError("disk full")
    with pytest.raises(SubmissionError, match="not completely recorded"), scichain_wf.run(strict=True):
        pass
    with pytest.raises(ZeroDivisionError), scichain_wf.run(strict=True):
        raise ZeroDivisionError


def test_any_failure_of_ours_is_a_line_and_no_exception(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spec: HOOK-1."""

    def broken(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(tasks, "add_environment", broken)
    monkeypatch.setattr(tasks, "task_body", broken)
    with scichain_wf.task("step"):
        pass
    said = capsys.readouterr().err
    assert "without its inputs: NotImplementedError" in said
    assert "its end is not recorded: NotImplementedError" in said


def test_a_process_of_a_recorded_program_records_into_its_run(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: None
) -> None:
    chain_dir = tmp_path / "chain"
    (chain_dir / "ledger").mkdir(parents=True)
    (chain_dir / "trust-root").write_text(f"scichain-wf-trust-root-v1 sha256:{CHAIN.hex()}\n")
    with monkeypatch.context() as outer:
        outer.setenv("SCICHAIN_RUN_ID", "01" * 16)
        outer.setenv("SCICHAIN_RUN_CHAIN", str(chain_dir))
        with scichain_wf.task("step"):
            pass
        outer.setenv("SCICHAIN_RUN_ID", "no id")
        with pytest.raises(SubmissionError, match="is not the id of a run"), scichain_wf.run(strict=True):
            pytest.fail("begun")
    found = [Transaction.decode(read_spool(path)) for path in list_spool(chain_dir / "spool")]
    assert [item.kind for item in found] == ["intent", "task"]
    assert {item.run for item in found} == {bytes.fromhex("01" * 16)}
    assert f"process={os.getpid()}" in str(found[0].body["task"])


def test_a_forked_child_records_into_the_run_and_does_not_end_it(service: FakeService) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with runs.State.lock:
            held.set()
            done.wait(60)

    with scichain_wf.run(), scichain_wf.task("outer"):
        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(60)  # as another thread might at the moment of a fork
        pid = os.fork()
        if pid == 0:
            try:
                with scichain_wf.task("child"):
                    pass
            finally:
                os._exit(0)
        done.set()
        holder.join()
        assert os.waitpid(pid, 0)[1] == 0
        assert service.stopped == 0
    names = [found["name"] for found in of_kind(service, Kind.TASK)]
    assert sorted(map(str, names)) == ["child", "outer"]
    assert service.stopped == 1


def test_a_fork_that_leaves_the_block_records_nothing_twice(service: FakeService) -> None:
    pid = -1
    try:
        with scichain_wf.run(), scichain_wf.task("step"):
            pid = os.fork()
    finally:
        if pid == 0:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(of_kind(service, Kind.TASK)) == len(of_kind(service, Kind.RUN_END)) == 1


def test_threads_share_a_run_that_nobody_opened(service: FakeService) -> None:
    together = threading.Barrier(4, timeout=60)

    def work() -> None:
        with scichain_wf.task("step"):
            together.wait()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(of_kind(service, Kind.RUN_START)) == len(of_kind(service, Kind.RUN_END)) == 1
    keys = {str(found["task"]) for found in of_kind(service, Kind.TASK)}
    assert keys == {"step", "step[n=2]", "step[n=3]", "step[n=4]"}


def test_modules_container_and_conda_are_recorded_where_there_are_any(
    service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conda-meta").mkdir()
    digests = set()
    for package in ("a-1-0.json", "b-2-0.json", "history"):
        (tmp_path / "conda-meta" / package).touch()
        monkeypatch.setenv("CONDA_PREFIX", str(tmp_path))
        monkeypatch.setenv("LOADEDMODULES", "gcc/13:samtools/1.20")
        monkeypatch.setenv("APPTAINER_CONTAINER", "/images/x.sif")
        with scichain_wf.task(package):
            pass
        [environment] = [task["environment"] for task in of_kind(service, Kind.TASK) if task["name"] == package]
        assert environment["modules"] == ["gcc/13", "samtools/1.20"]
        assert environment["container"] == "/images/x.sif"
        digests.add(environment["conda"])
    assert len(digests) == 2
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "none"))
    for name in ("LOADEDMODULES", "APPTAINER_CONTAINER"):
        monkeypatch.delenv(name)
    with scichain_wf.task("bare"):
        pass
    assert ["environment" in task for task in of_kind(service, Kind.TASK) if task["name"] == "bare"] == [False]


def test_arguments_that_make_no_sense_are_refused_before_anything_begins(service: FakeService) -> None:
    for wrong in ({"nodes": 0}, {"hashing": "some"}, {"redact": ["*"]}):
        with pytest.raises(ConfigError):
            scichain_wf.run(**wrong)
    with pytest.raises(UsageError, match="lists of paths"):
        scichain_wf.task("step", inputs="in")
    with pytest.raises(AttributeError, match="no attribute 'tsk'"):
        scichain_wf.tsk  # noqa: B018
    assert recorded(service) == []


def test_quiet_prints_only_trouble(service: FakeService, capsys: pytest.CaptureFixture[str]) -> None:
    with scichain_wf.run(quiet=True) as run:
        pass
    assert run.complete
    assert capsys.readouterr().err == ""
    with scichain_wf.run(quiet=True) as run:
        assert run.recorder is not None
        run.recorder.problem("something")
    assert "something" in capsys.readouterr().err


def test_patterns_hashing_and_command_of_a_run_hold_for_it(service: FakeService, here: Path) -> None:
    (here / "a").write_text("x")
    run = scichain_wf.run(redact=["corp-*"], hashing="off", command=["tool", "corp-7"], chain="c", nodes=2)
    with run, tasks.Task(run, "step", inputs=["a", "no\0name"], params=["corp-7"], arguments=["x", "corp-7"]):
        pass
    begin, _, done, _ = bodies(service)
    assert begin["command"] == ["tool", "[redacted]"]
    assert begin["settings"]["hash"] == "off"
    assert (done["params"], done["command"]) == (["[redacted]"], "x '[redacted]'")
    assert [item["state"] for item in done["inputs"]] == ["unhashed"]
