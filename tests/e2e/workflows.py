"""Real Snakemake runs for end-to-end tests: a project directory, this environment's `snakemake`, the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

TIMEOUT_S = 120
UNQUOTED = "Snakemake starts the interpreter of script and shadow jobs unquoted, so not from a path with a space"
CLOSING = re.compile(
    r"^scichain: run [0-9a-f]{12}…: (\d+) tasks?, (\d+) transactions? \((\d+) quorum, (\d+) POET, (\d+) spool\), "
    r"votes by (.+); trust root sha256:[0-9a-f]{12}…; head (\d+) sha256:[0-9a-f]{12}…; check with: scichain-wf verify",
    re.MULTILINE,
)

SIMPLE = """
rule all:
    input: "out.txt"

rule make:
    input: "in.txt"
    output: "out.txt"
    shell: "cp {input} {output}"
"""


class Project:
    """A workflow's directory; `variables` are set for what is run in it, `timeout_s` is how long that may take."""

    def __init__(self, directory: Path, snakefile: str) -> None:
        self.directory = directory
        self.variables: dict[str, str] = {}
        self.timeout_s = TIMEOUT_S
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "Snakefile").write_text(snakefile, encoding="utf-8")

    def write(self, name: str, content: str) -> Path:
        """Make a file in the project."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    def command(self, *arguments: str, logger: bool = True) -> list[str]:
        """The command line of a run."""
        recorded = ["--logger", "scichain"] if logger else []
        return [sys.executable, "-m", "snakemake", "-c2", *recorded, *arguments]

    def snakemake(self, *arguments: str, logger: bool = True) -> subprocess.CompletedProcess[str]:
        """Run it to its end; its standard error holds the log and the closing line."""
        return self._run(self.command(*arguments, logger=logger))

    def instead(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python code that calls Snakemake's `main` in its own way."""
        _, _, _, *rest = self.command(*arguments)
        return self._run([sys.executable, "-c", code, *rest])

    def scichain(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run our command line in the project."""
        return self._run([sys.executable, "-m", "scichain_wf", *arguments])

    def verdict(self) -> int:
        """Exit code of `verify`."""
        return self.scichain("verify").returncode

    def runs(self) -> list[dict[str, Any]]:
        """The recorded runs with their tasks, oldest first."""
        listed = self.scichain("runs", "list", "--json")
        assert listed.returncode == 0, listed.stderr
        return [self._shown(run["run"]) for run in json.loads(listed.stdout)["runs"]]

    def tasks(self) -> list[dict[str, Any]]:
        """The tasks of the newest run."""
        tasks: list[dict[str, Any]] = self.runs()[-1]["tasks"]
        return tasks

    def _shown(self, run: str) -> dict[str, Any]:
        shown = self.scichain("runs", "show", run, "--json")
        assert shown.returncode == 0, shown.stderr
        value: dict[str, Any] = json.loads(shown.stdout)
        return value

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.directory,
            env=environment() | self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=self.timeout_s,
            check=False,
        )


def environment() -> dict[str, str]:
    """This process's, without what would configure scichain-wf or colour its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SCICHAIN_", "SNAKEMAKE_"))}
    beside = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"  # programs of this environment
    return kept | {"NO_COLOR": "1", "PYTHONIOENCODING": "utf-8", "PATH": beside}


def run_program(program: Path, directory: Path, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a Python program of the tests in a directory; workers that it starts find this environment's scripts."""
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=timeout_s,
        check=False,
    )


def closing(result: subprocess.CompletedProcess[str]) -> re.Match[str]:
    """The closing line of a run; there is exactly one."""
    lines = CLOSING.findall(result.stderr)
    assert len(lines) == 1, result.stderr
    found = CLOSING.search(result.stderr)
    assert found is not None
    return found


def simple_project(directory: Path, snakefile: str = SIMPLE) -> Project:
    """A project with one job: `in.txt` to `out.txt`."""
    project = Project(directory, snakefile)
    project.write("in.txt", "x\n")
    return project
