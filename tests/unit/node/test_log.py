"""Log lines: one object each, whatever is in them, and never so many that they fill a disk."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from scichain_wf import limits
from scichain_wf.node.log import Log


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_is_one_object_whatever_a_name_holds(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = 'a\n{"level":"info"}\x1b[2J\u2028\ud800' + "x" * 10_000
    Log("slot-3").warning("odd", reason=hostile, path=Path("/srv/x"), number=7)
    text = capsys.readouterr().err
    assert text.isascii()
    assert text.count("\n") == 1
    line = lines(text)[0]
    assert (line["level"], line["process"], line["event"], line["number"]) == ("warning", "slot-3", "odd", "7")
    assert line["reason"] == hostile[:2_000]
    assert {"time_us", "pid"} < line.keys()


def test_a_failure_that_repeats_itself_is_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    log = Log("storage")
    for number in range(limits.LOG_LINES_MAX + 7):
        log.warning("again", number=number)
    log.info("something else")
    said = lines(capsys.readouterr().err)
    assert [line["event"] for line in said] == ["again"] * limits.LOG_LINES_MAX + ["something else"]
    now += limits.LOG_WINDOW_S
    log.warning("again")
    log.warning("again")
    assert [line.get("left_out") for line in lines(capsys.readouterr().err)] == ["7", None]


def test_kinds_of_events_are_bounded(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_EVENTS_MAX", 3)
    log = Log("storage")
    for number in range(10):
        log.info("x" * number)
    assert len(lines(capsys.readouterr().err)) == 10
    assert len(log._seen) <= 3


CHATTY = """
import sys
from scichain_wf import limits
from scichain_wf.node.log import Log
limits.LOG_BYTES_MAX = 20_000
for number in range(300):
    Log(sys.argv[1]).warning("again", number=number, filler="x" * 200)
"""


@pytest.mark.parametrize(("directory", "name"), [("run", "storage.log"), ("mine", "storage.log"), ("run", "job.log")])
def test_the_log_of_a_chain_is_moved_aside_and_nobody_elses(tmp_path: Path, directory: str, name: str) -> None:
    """Two processes that share it, as an agent and the storage process do."""
    path = tmp_path / directory / name
    path.parent.mkdir()
    with path.open("ab") as file:
        both = [subprocess.Popen([sys.executable, "-c", CHATTY, who], stderr=file) for who in ("one", "two")]
        assert [process.wait(60) for process in both] == [0, 0]
    sizes = {entry.name: entry.stat().st_size for entry in path.parent.iterdir()}
    if (directory, name) == ("run", "storage.log"):
        assert set(sizes) == {"storage.log", "storage.log.1"}
        assert max(sizes.values()) < 21_000
    else:
        assert sizes == {name: sizes[name]}
        assert sizes[name] > 120_000
    assert all(line["event"] == "again" for line in lines(path.read_text()))
