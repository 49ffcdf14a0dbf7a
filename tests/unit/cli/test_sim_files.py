"""`scichain-wf sim`: its files are whole or not there, whatever happens; what was there before is kept."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scichain_wf import cli
from scichain_wf.cli import sim
from scichain_wf.sim import observe
from scichain_wf.sim import scenario as scenarios
from scichain_wf.sim.scenario import Scenario
from scichain_wf.sim.world import World

SMALL = ["sim", "--nodes=3", "--duration=0.4"]
COMMAND = [sys.executable, "-c", "from scichain_wf import cli; cli.main()"]
FULL = Path("/dev/full")


def limited() -> None:
    """No file of this process gets longer than this: a disk that fills up."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))


def test_full_disk_leaves_what_was_there_and_prints_the_table(tmp_path: Path) -> None:
    json_file, plot_file = tmp_path / "run.json", tmp_path / "new.svg"
    json_file.write_text("before")
    done = subprocess.run(
        [*COMMAND, *SMALL, "--json", str(json_file), "--plot", str(plot_file)],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=limited,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("no promise broke")
    for option, file in (("--json", json_file), ("--plot", plot_file)):
        assert f"{option} '{file}' was not written: File too large; make room, or name another file" in done.stderr
    assert (json_file.read_text(), [file.name for file in tmp_path.iterdir()]) == ("before", ["run.json"])


def test_device_is_written_to_and_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*SMALL, "--json", str(FULL)]) == 3
    said = capsys.readouterr()
    assert "No space left on device" in said.err
    assert said.out.startswith("no promise broke")
    assert FULL.is_char_device()


def test_pipe_is_written_to(capfd: pytest.CaptureFixture[str]) -> None:
    ours, theirs = os.pipe()
    with open(ours, encoding="utf-8") as stream:
        try:
            assert cli.run([*SMALL, f"--plot=/dev/fd/{theirs}"]) == 0
        finally:
            os.close(theirs)
        assert stream.read().startswith("<svg ")


def test_link_is_followed_and_the_files_mode_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, link = tmp_path / "there" / "run.json", tmp_path / "link.json"
    file.parent.mkdir()
    file.write_text("before")
    file.chmod(0o640)
    link.symlink_to(file)
    assert cli.run([*SMALL, "--json", str(link)]) == 0
    assert link.is_symlink()
    assert json.loads(file.read_text())["left_open"] is None
    assert file.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in file.parent.iterdir()] == ["run.json"]


def test_one_file_under_two_names_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, link = tmp_path / "run.json", tmp_path / "link.svg"
    file.write_text("before")
    link.symlink_to(file)
    assert cli.run([*SMALL, "--json", str(file), "--plot", str(link)]) == 2
    assert "name two files" in capsys.readouterr().err
    assert file.read_text() == "before"


def test_unwritable_file_is_named_before_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop = tmp_path / "loop.json"
    loop.symlink_to(loop)
    (tmp_path / "file").touch()
    for name, why in ((str(loop), "symbolic links"), (f"{tmp_path}/file/x.json", "Not a directory"), ("a\0b", "null")):
        assert cli.run([*SMALL, "--json", name]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert "'--json'" in said.err
        assert why in said.err
        assert "name a file in a directory of yours" in said.err
    assert sorted(os.listdir(tmp_path)) == ["file", "loop.json"]


def test_files_are_written_before_the_table_whose_reader_may_leave(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        done = subprocess.run([*COMMAND, *SMALL, f"--json={file}"], check=False, stdout=theirs, stderr=subprocess.PIPE)
    finally:
        os.close(theirs)
    assert done.returncode == 3
    assert len(json.loads(file.read_text())["runs"]) == 1


class SignalAtLink:
    """Sends this process a signal when the fourth link is durable."""

    def __init__(self, number: signal.Signals) -> None:
        self._number = number

    def observe(self, _world: object, what: observe.Observation) -> None:
        if isinstance(what, observe.LinkDurable) and what.link.height == 4:
            signal.raise_signal(self._number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ended_by_a_signal_it_prints_and_writes_what_was_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    def watched(scenario: Scenario) -> World:
        world = scenarios.build(scenario)
        world.observers.append(SignalAtLink(number))
        return world

    monkeypatch.setattr(sim, "build", watched)
    before = signal.getsignal(signal.SIGTERM)
    file = tmp_path / "run.json"
    with pytest.raises(SystemExit) as ended:
        cli.main([*SMALL, "--seeds=3", f"--json={file}"])
    assert ended.value.code == 130
    said = capsys.readouterr()
    assert said.out.startswith("no promise broke until it was interrupted")
    assert said.err.endswith("scichain-wf: interrupted\n")
    document = json.loads(file.read_text())
    assert document["interrupted"] is True
    assert [(run["seed"], run["violation"]) for run in document["runs"]] == [(1, None)]
    assert signal.getsignal(signal.SIGTERM) is before


def test_ended_before_the_first_run_it_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sim, "build", lambda _scenario: signal.raise_signal(signal.SIGTERM))
    file = tmp_path / "run.json"
    file.write_text("before")
    with pytest.raises(SystemExit) as ended:
        cli.main([*SMALL, f"--json={file}"])
    assert (ended.value.code, capsys.readouterr().out, file.read_text()) == (130, "", "before")
