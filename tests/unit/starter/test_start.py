"""The start script's door, its child processes, and its demonstration without the programs it demonstrates."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from starter import process, quickstart
from starter.environment import SetupError

START = Path(__file__).resolve().parents[3] / "examples" / "start.py"


def test_old_pythons_can_read_the_script() -> None:
    ast.parse(START.read_text(), feature_version=(3, 4))


def test_old_python_is_told_what_is_needed() -> None:
    pretend = f"import runpy, sys; sys.version_info = (3, 8, 18); runpy.run_path({str(START)!r}, run_name='__main__')"
    answer = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "needs Python 3.11 or newer; this is Python 3.8" in answer.stderr


def test_children_do_not_see_what_would_mislead_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/srv/elsewhere")
    monkeypatch.setenv("PIP_TARGET", "/srv/elsewhere")
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    environ = process.clean_environ(Path("/srv/venv/bin"))
    assert "PYTHONPATH" not in environ
    assert "PIP_TARGET" not in environ
    assert environ["PIP_USER"] == "0"
    assert environ["PIP_INDEX_URL"] == "https://mirror.example/simple"
    assert environ["PATH"].startswith("/srv/venv/bin" + os.pathsep)


def test_quiet_command_returns_its_output_and_exit_code(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["sh", "-c", "echo said; echo warned >&2; exit 3"]
    code, output = process.quiet("trying", command, tmp_path, dict(os.environ))
    assert (code, output) == (3, "said\nwarned\n")
    assert "said" not in "".join(capfd.readouterr())


def test_interruption_ends_grandchildren_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.5)  # a background child ignores Ctrl-C and needs the next step
    pid_file = tmp_path / "pid"
    command = ["sh", "-c", f"sleep 60 & echo $! > '{pid_file}.new'; mv '{pid_file}.new' '{pid_file}'; wait"]
    with pytest.raises(KeyboardInterrupt), process.running(command, tmp_path, dict(os.environ)):
        while not pid_file.exists():
            time.sleep(0.01)
        raise KeyboardInterrupt
    state = Path(f"/proc/{pid_file.read_text().strip()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_tampering_changes_exactly_one_byte(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("date,celsius\n2026-06-01,14.9\n")
    assert quickstart.flip_last_digit(table) == "byte 27: 9 became 0"
    assert table.read_text() == "date,celsius\n2026-06-01,14.0\n"


def test_demonstration_directory_is_replaced_only_if_it_is_ours(tmp_path: Path) -> None:
    example, directory = tmp_path / "example", tmp_path / "run"
    example.mkdir()
    (example / "Snakefile").write_text("rule all:\n")
    quickstart.prepare(example, directory)
    (directory / "old").touch()
    quickstart.prepare(example, directory)
    assert not (directory / "old").exists()
    (directory / quickstart.MARKER).unlink()
    with pytest.raises(SetupError, match="left alone"):
        quickstart.prepare(example, directory)
    assert (directory / "Snakefile").exists()


HONEST = 'sha256sum -c --quiet ../sums 2>&1 | sed s/:.*// | grep . && exit 1; echo "verdict: VERIFIED"'
BLIND = 'echo "verdict: VERIFIED"'


@pytest.mark.parametrize(("verifier", "exit_code"), [(HONEST, 0), (BLIND, 1)], ids=["honest", "blind"])
def test_demonstration_fails_unless_the_verifier_finds_the_change(
    tmp_path: Path, verifier: str, exit_code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    file = quickstart.TAMPERED
    workflow = f"mkdir -p results/stations; echo 14.9 > {file}; sha256sum {file} > ../sums"
    (tmp_path / "bin").mkdir()
    for name, script in {"snakemake": workflow, "scichain-wf": verifier}.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    example = START.parent / "quickstart"
    assert quickstart.demonstrate(process.clean_environ(tmp_path / "bin"), example, tmp_path / "run") == exit_code
    assert (tmp_path / "run" / file).read_text() == "14.9\n"
    assert ("NOT EXPECTED  verify names" in capfd.readouterr().out) == (exit_code != 0)
