"""The tamper drill: two workflows to record, and how to ask two programs what they say of a manipulated copy."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from tests.e2e.workflows import Project, environment

CALM: Final = """
rule all:
    input: "out/report.txt", "out/kept", "out/folder"

rule clean:
    input: "data/{s}.csv"
    output: "out/{s}.clean"
    shell: "sort {input} > {output}"

rule count:
    input: clean="out/{s}.clean", script="count.sh"
    output: "out/{s}.count"
    shell: "sh {input.script} {input.clean} > {output}"

rule scratch:
    input: "out/a.clean"
    output: temp("out/scratch")
    shell: "cp {input} {output}"

rule report:
    input: "out/a.count", "out/b.count", "out/scratch"
    output: "out/report.txt"
    shell: "cat {input} > {output}"

rule folder:
    output: directory("out/folder")
    shell: "mkdir {output}; for i in 1 2 3; do echo $i > {output}/$i; done"

rule kept:
    input: "out/report.txt"
    output: protected("out/kept")
    shell: "cp {input} {output}"
"""
UNRULY: Final = """
rule all:
    input: "second", "third", "other"

rule first:
    input: "x"
    output: "first"
    shell: "cp {input} {output}"

rule meddle:
    input: "first"
    output: touch("meddled")
    shell: "echo y >> x; echo y >> first"

rule second:
    input: "first", "meddled"
    output: "second"
    shell: "cp {input[0]} {output}"

rule third:
    input: "x", "meddled"
    output: "third"
    shell: "cp {input[0]} {output}"

rule good:
    input: "meddled"
    output: "good"
    shell: "echo good > {output}"

rule other:
    input: "good"
    output: "other"
    shell: "cp {input} {output}; echo bad > good"
"""
_RULE: Final = re.compile(r"^(?:local)?rule (\w+):", re.MULTILINE)
_FORKING: Final = """
import importlib, json, os, sys
program, *others = [importlib.import_module(name) for name in sys.argv[1:]]
if hasattr(program, "parse_args"):
    program.parse_args(["--dry-run"])
for line in sys.stdin:
    directory, output, arguments = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(directory)
        for descriptor, name in ((1, output + ".out"), (2, output + ".err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        code = 0
        try:
            code = program.main(arguments)
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
        os._exit(code or 0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Answer:
    """What was said of a copy."""

    verdict: str
    findings: tuple[str, ...]
    reruns: tuple[str, ...]


class Program:
    """Runs one command many times, in forks of a process that has imported it.

    Args:
        modules: the first has its `main`; the others it would import later.
    """

    def __init__(self, *modules: str) -> None:
        self._name = modules[0]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FORKING, *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment(),
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, directory: Path, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        output = f"{directory}.{self._name}"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(directory), output, arguments]) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return code, Path(f"{output}.out").read_text(), Path(f"{output}.err").read_text()


class Drill:
    """Asks both programs."""

    def __init__(self) -> None:
        self._verify = Program("scichain_wf.cli", "scichain_wf.cli.verify", "scichain_wf.audit")
        self._snakemake = Program("snakemake.cli", "snakemake.workflow", "snakemake.dag", "smart_open")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._verify.__exit__()
        self._snakemake.__exit__()

    def ask(self, directory: Path, trust_root: str, subject: str = "") -> Answer:
        """What both say of a workflow's directory."""
        _, text, error = self._verify.run(directory, "verify", "--json", "--trust-root", trust_root)
        assert text, error
        said: dict[str, Any] = json.loads(text)
        findings = {f["id"] for f in said["findings"] if f["severity"] != "info" and subject in f["subject"]}
        code, text, error = self._snakemake.run(directory, "--dry-run", "--cores", "1", *filter(None, [subject]))
        assert code == 0, error
        reruns = set(_RULE.findall(text + error)) - {"all"}
        return Answer(said["verdict"], tuple(sorted(findings)), tuple(sorted(reruns)))


def record(directory: Path) -> tuple[Project, Project]:
    """The calm and the unruly workflow, recorded."""
    calm = Project(directory / "calm", CALM)
    calm.write("data/a.csv", "3\n1\n2\n")
    calm.write("data/b.csv", "30\n10\n20\n11\n")
    calm.write("count.sh", 'wc -l < "$1"\n')
    unruly = Project(directory / "unruly", UNRULY)
    unruly.write("x", "x\n")
    for project in (calm, unruly):
        result = project.snakemake("--latency-wait", "0")
        assert result.returncode == 0, result.stderr
    return calm, unruly
