"""`scichain-wf run` and `scichain_wf.task` with a real service: on the chain, verified, nested in one run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = """
import subprocess, sys
import scichain_wf
with scichain_wf.run():
    with scichain_wf.task("first", outputs=["a"]):
        open("a", "w").write("x")
    subprocess.run([sys.executable, "-m", "scichain_wf", "run", "-i", "a", "-o", "b", "cp", "a", "b"], check=True)
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "scichain_wf", *arguments]


def environment() -> dict[str, str]:
    home = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))}


def run(directory: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        arguments, cwd=directory, env=environment(), capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def runs(directory: Path) -> list[dict[str, Any]]:
    found = json.loads(run(directory, *command("runs", "list", "--json")))
    return list(found["runs"])


def test_a_program_and_the_command_it_starts_are_one_verified_run(tmp_path: Path) -> None:
    run(tmp_path, sys.executable, "-c", PROGRAM)
    [only] = runs(tmp_path)
    assert only["tasks"] == 2
    verified = json.loads(run(tmp_path, *command("verify", "--json")))
    assert (verified["exit_code"], verified["counts"]["files-match"]) == (0, 2)
    (tmp_path / "b").write_text("changed")
    run(tmp_path, *command("verify"), code=1)


def test_a_command_that_is_terminated_is_on_the_chain_as_interrupted(tmp_path: Path) -> None:
    script = "echo ready; exec sleep 600"
    process = subprocess.Popen(
        command("run", "--name", "long", "sh", "-c", script),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert b"1 task" in said
    [only] = runs(tmp_path)
    assert only["status"] == "interrupted"
