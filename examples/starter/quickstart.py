"""`start.py` without a flag: record a workflow, verify it, change one byte, and see that it is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from starter.environment import Environment, SetupError
from starter.process import clean_environ, shown

MARKER = ".made-by-start.py"
TAMPERED = "results/stations/harbour.csv"
RECORD = ["snakemake", "-c2", "--logger", "scichain", "--logger-scichain-nodes", "3"]
VERIFY = ["scichain-wf", "verify"]


class Demonstration:
    """Commands shown and run in the working directory, and what was expected of them."""

    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        self.directory = directory
        self.environ = environ
        self.outcomes: list[tuple[bool, str]] = []

    def step(self, title: str) -> None:
        """Say what comes next."""
        print(f"\n── {title}", flush=True)

    def expect(self, held: bool, what: str) -> bool:
        """Note one expectation for the summary."""
        self.outcomes.append((held, what))
        return held

    def record(self) -> bool:
        """Run the workflow; its output goes straight to the reader."""
        print("$ " + " ".join(RECORD), flush=True)
        started = time.monotonic()
        code = shown(self.found(RECORD), self.directory, self.environ)
        return self.expect(code == 0, f"the workflow ran and was recorded ({time.monotonic() - started:.1f} s)")

    def verify(self) -> tuple[int, str]:
        """Run the verifier, show what it says, and return its exit code with it."""
        print("$ " + " ".join(VERIFY), flush=True)
        answer = subprocess.run(
            self.found(VERIFY), cwd=self.directory, env=self.environ, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
        )  # fmt: skip
        print(answer.stdout.rstrip())
        print(f"(exit code {answer.returncode})", flush=True)
        return answer.returncode, answer.stdout

    def found(self, command: list[str]) -> list[str]:
        """The command with its program looked up where the environment has it."""
        program = shutil.which(command[0], path=self.environ["PATH"])
        if program is None:
            raise SetupError(f"'{command[0]}' is missing from the environment; remove that and run this again")
        return [program, *command[1:]]

    def finish(self) -> int:
        """Print the summary; returns the exit code."""
        print("\n── Summary")
        for held, what in self.outcomes:
            print(f"  {'as expected ' if held else 'NOT EXPECTED'}  {what}")
        good = all(held for held, _ in self.outcomes)
        if good:
            print(f"\nLook around in {self.directory}: results/ holds the workflow's files, .scichain/ the chain.")
        else:
            print("\nSomething is wrong with this installation; the output above says where.", file=sys.stderr)
        return 0 if good else 1


def prepare(example: Path, directory: Path) -> None:
    """Lay a fresh copy of the example, in place of the last run's; anything else in the way is left alone."""
    if directory.exists():
        if not (directory / MARKER).exists() and any(directory.iterdir()):
            raise SetupError(f"{directory} was not made by this script, so it is left alone. Move it away first.")
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    (directory / MARKER).write_text("This directory is replaced whenever examples/start.py runs.\n")
    leftovers = shutil.ignore_patterns("__pycache__", ".*", "results")
    shutil.copytree(example, directory, dirs_exist_ok=True, ignore=leftovers)


def flip_last_digit(path: Path) -> str:
    """Change one byte of a table, a digit to another digit, so that it still looks right; returns what was done."""
    content = bytearray(path.read_bytes())
    position = max(i for i, byte in enumerate(content) if byte in b"0123456789")
    before = chr(content[position])
    content[position] = ord(str((int(before) + 1) % 10))
    path.write_bytes(content)
    return f"byte {position}: {before} became {chr(content[position])}"


def run(environment: Environment, example: Path, directory: Path) -> int:
    """The whole demonstration; returns 0 only if everything was as expected."""
    return demonstrate(clean_environ(environment.binaries), example, directory)


def demonstrate(environ: dict[str, str], example: Path, directory: Path) -> int:
    """As `run`, with the programs that are on the PATH of `environ`."""
    prepare(example, directory)
    show = Demonstration(directory, environ)

    show.step(f"1. A workflow runs and is recorded, with three agents  (in {directory})")
    if not show.record():
        return show.finish()

    show.step("2. Was the record altered? Are the files the ones the workflow made?")
    code, text = show.verify()
    if not show.expect(code == 0 and "VERIFIED" in text, "verify says VERIFIED, exit code 0"):
        return show.finish()

    victim = directory / TAMPERED
    original = victim.read_bytes()
    show.step(f"3. Somebody changes one digit of {TAMPERED}")
    try:
        print(flip_last_digit(victim))
        code, text = show.verify()
    finally:
        victim.write_bytes(original)
    show.expect(code == 1 and TAMPERED in text, f"verify names {TAMPERED}, exit code 1")

    show.step("4. The digit is put back")
    code, text = show.verify()
    show.expect(code == 0 and "VERIFIED" in text, "verify says VERIFIED again, exit code 0")
    return show.finish()
