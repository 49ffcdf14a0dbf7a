"""Whose result a memo hit returns is kept beside Parsl's checkpoints."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("parsl", reason="Parsl is not installed: pip install 'scichain-wf[parsl]'")

from parsl.dataflow.memoization import BasicMemoizer

from scichain_parsl.memoizer import ProvenanceMemoizer
from scichain_parsl.memos import NAME, Made, Makers

URI = f"value:{'a' * 32}/add%5Bid%3D1%5D/1"


def test_a_later_run_knows_who_made_what_an_earlier_one_kept(tmp_path: Path) -> None:
    own = tmp_path / "000/checkpoint"
    makers = Makers([], own)
    makers.keep("m1", Made(URI, "c0de", "add[id=1]"))
    makers.keep("m2", Made(URI, ""))
    assert makers.of("m1") == Made(URI, "c0de", "add[id=1]")
    later = Makers([str(own), str(tmp_path / "none")], None)
    assert later.of("m1") == Made(URI, "c0de")  # the task's key is of the other run
    assert later.of("m2") == Made(URI, "")
    assert (later.of("m3"), later.of(None)) == (None, None)


def test_without_checkpoints_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    makers = Makers([], None)
    makers.keep("m1", Made(URI, ""))
    assert makers.of("m1") == Made(URI, "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("line", ["", "m1", "m1 ", "m1 /etc/passwd -", "m1 value:x -", f"m1 {URI[:-2]} -"])
def test_a_line_that_makes_no_sense_names_nobody(tmp_path: Path, line: str) -> None:
    (tmp_path / NAME).write_text(f"{line}\nm2 {URI} -\n", encoding="ascii")
    makers = Makers([str(tmp_path)], None)
    assert (makers.of("m1"), makers.of("m2")) == (None, Made(URI, ""))


def test_what_cannot_be_read_or_kept_is_logged_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / NAME).write_bytes(b"\xff")
    (tmp_path / "file").touch()
    makers = Makers([str(tmp_path)], tmp_path / "file/checkpoint")
    makers.keep("m1", Made(URI, ""))
    assert makers.of("m1") == Made(URI, "")
    assert [record.message.split(":")[0] for record in caplog.records] == [
        f"{tmp_path / NAME} is not read",
        "Later runs will not know who made their memo hits",
    ]


def test_a_checkpoint_that_cannot_be_written_hangs_no_future(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Spec: HOOK-1. Parsl sets a task's future after these calls, and not at all if one of them raises."""
    inner = BasicMemoizer(checkpoint_mode="task_exit")
    inner.start(run_dir=str(tmp_path / "file"), config_run_dir=str(tmp_path))
    (tmp_path / "file").touch()
    task: Any = {"id": 7, "func_name": "add", "memoize": True, "hashsum": "m", "app_fu": Future(), "kwargs": {}}
    with pytest.raises(NotADirectoryError):
        inner.update_memo_result(task, 1)
    ProvenanceMemoizer(inner).update_memo_result(task, 1)
    ProvenanceMemoizer(inner).update_memo_exception(task, ValueError())
    said = ["Task 7 (add) is not checkpointed", "Task 7 (add) is not memoized"]
    assert [record.message for record in caplog.records if record.name == "parsl.scichain.memoizer"] == said
