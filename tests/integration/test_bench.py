"""`scichain-wf bench`: every benchmark measures the real thing, says what on which machine, and leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scichain_wf.bench import emit
from scichain_wf.bench import hash as hashing
from scichain_wf.bench.measure import floor_us, rss_anon_mib, timed_us
from scichain_wf.errors import PeerError
from tests.integration.service_kit import wait_until
from tests.integration.test_services import PROGRAM, environment
from tests.interrupts import interruptible


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120, check=False)


@pytest.mark.parametrize(
    ("arguments", "figure"),
    [
        (["emit", "--records", "50", "--processes", "2", "--files", "1"], "2 processes: emit"),
        (["hash", "--mib", "1", "--rounds", "2"], "two files at once against one"),
        (["verify", "--transactions", "600", "--per-block", "100", "--rounds", "2", "--files", "2"], "one file"),
        (["scale", "--transactions", "1200", "--windows", "3", "--per-block", "50"], "append of ready blocks"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_benchmark_prints_a_document_and_keeps_the_same_in_a_file(
    arguments: list[str], figure: str, tmp_path: Path
) -> None:
    file, place = tmp_path / "kept.json", tmp_path / "place"
    place.mkdir()
    more: list[str | Path] = ["--directory", place] if arguments[0] in ("verify", "scale") else []
    run = bench(*arguments, *more, "--json", "--output", file)
    assert (run.returncode, run.stderr) == (0, "")
    document = json.loads(run.stdout)
    assert json.loads(file.read_text()) == document
    assert document["benchmark"] == arguments[0]
    assert document["machine"]["cpus"] >= 1
    figures = {each["name"]: each for each in document["figures"]}
    assert all(sample >= 0 for sample in figures[figure]["samples"])
    assert all(len(each["samples"]) >= 1 for each in figures.values())
    assert list(place.iterdir()) == []


def test_the_table_names_targets_and_the_machine() -> None:
    run = bench("emit", "--records", "20", "--processes", "1")
    assert run.returncode == 0
    heading, first, second, *_ = run.stdout.splitlines()
    assert heading.split() == ["FIGURE", "MEDIAN", "P99", "UNIT", "TARGET"]
    assert "1 process: emit" in first
    assert "median ≤ 25" in first
    assert "p99 ≤ 150" in second
    assert "cpus" in run.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scale", "--transactions", "1000", "--windows", "6"], "--windows"),
        (["emit", "--processes", "0"], "--processes"),
        (["verify", "--directory", "/nowhere/at/all"], "--directory"),
        (["hash", "--mib", "1", "--output", "/nowhere/at/all.json"], "cannot be written"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_options_that_make_no_sense_are_refused_before_anything_runs(arguments: list[str], message: str) -> None:
    run = bench(*arguments)
    assert run.returncode == 2
    assert message in run.stderr
    assert run.stdout == ""


def session(leader: int) -> list[str]:
    """Processes of a session."""
    found = subprocess.run(["ps", "-o", "pid=", "-g", str(leader)], capture_output=True, text=True, check=False)
    return found.stdout.split()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_benchmark_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    command = [*PROGRAM, "bench", "commit", "--nodes", "1", "--directory", str(tmp_path)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=interruptible(environment()),
        start_new_session=True,
    ) as process:
        wait_until(lambda: bool(list(tmp_path.glob("*/chain/run/storage"))), "a service that runs")
        [run] = tmp_path.glob("*/chain/run/storage")
        storage = int(run.read_text().split()[-1])
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        _, said = process.communicate(timeout=90)
    assert (process.returncode, said) == (130, "scichain-wf: interrupted\n")
    assert list(tmp_path.iterdir()) == []
    assert not Path(f"/proc/{storage}").exists()
    wait_until(lambda: not session(process.pid), "the end of its processes")  # Python's own tracker sees the end later


@pytest.mark.parametrize("pause_s", [0.06, 0.12, 0.2, 0.3])
def test_ctrl_c_reaches_no_hook_process_that_is_just_starting(tmp_path: Path, pause_s: float) -> None:
    command = [*PROGRAM, "bench", "commit", "--nodes", "1", "--directory", str(tmp_path)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=interruptible(environment()), start_new_session=True
    ) as process:
        wait_until(lambda: len(session(process.pid)) > 1, "its first child")  # Python's tracker, then the hooks
        time.sleep(pause_s)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=90)
    assert (process.returncode, said) == (130, "scichain-wf: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_a_hook_process_that_dies_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emit, "_hook", sys.exit)  # spawned by name: the child ends at once
    with pytest.raises(PeerError, match="died"):
        emit.run(emit.Options(records=1, processes=(1,)))


def test_hashing_both_files_gives_both_digests() -> None:
    with hashing.two_files(1, seed=3) as paths:
        first, second = hashing.hash_both(paths)
        assert first != second
        base = paths[0].parent
    assert not base.exists()
    result = hashing.run(hashing.Options(mib=1, rounds=1))
    assert {"one file", "two files at once"} <= {figure.name for figure in result.figures}


def test_clocks_and_memory_are_read() -> None:
    assert len(timed_us(lambda: None, 3)) == 3
    assert floor_us([b'{"a":1}'] * 100) > 0
    assert rss_anon_mib() > 1
