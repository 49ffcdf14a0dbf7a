"""Jobs that inner Snakemake processes run: a scheduler that knows nothing of us, and jobs that it loses."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.workflows import Project

pytest.importorskip("snakemake_executor_plugin_cluster_generic", reason="pip install 'scichain-wf[test]'")

SNAKEFILE = """
localrules: near

rule all:
    input: "near", "second", "again", "killed"

rule first:
    output: "first"
    group: "pair"
    shell: "echo lab-4711 > {output}"

rule second:
    input: "first"
    output: "second"
    group: "pair"
    shell: "cp {input} {output}"

rule again:
    input: "in.txt"
    output: "again"
    retries: 1
    shell: "test -e tried && cp {input} {output} || (touch tried; exit 4)"

rule killed:  # its Snakemake dies as by the kernel's out-of-memory killer or at the end of its wall time
    output: "killed"
    shell: "kill -9 $PPID"

rule near:
    input: "second"
    output: "near"
    shell: "cp {input} {output}"
"""
SUBMIT = "#!/bin/sh\nsetsid sh \"$1\" >\"$1.log\" 2>&1 </dev/null &\necho $!\n"


def test_every_attempt_has_one_record_wherever_it_ran_and_a_killed_one_is_named(tmp_path: Path) -> None:
    project = Project(tmp_path, SNAKEFILE)
    project.write("in.txt", "x\n")
    submit = project.write("submit.sh", SUBMIT)
    result = project.snakemake(
        *("--executor", "cluster-generic", "--jobs", "3", "--keep-going", "--seconds-between-status-checks", "1"),
        *("--cluster-generic-submit-cmd", f"sh {shlex.quote(str(submit))}", "--logger-scichain-redact", "lab-*"),
    )
    assert result.returncode == 1, result.stderr
    [run] = project.runs()
    attempts = Counter((task["task"], task["attempt"], task.get("submission"), task["status"]) for task in run["tasks"])
    assert attempts == Counter(
        [
            ("first", 1, 1, "ok"),
            ("second", 1, 1, "ok"),
            ("again", 1, 1, "failed"),
            ("again", 2, 1, "ok"),
            ("near", 1, None, "ok"),
        ]
    )
    tasks = {(task["task"], task["attempt"]): task for task in run["tasks"]}
    assert "lab-4711" not in tasks["first", 1]["command"]  # the flag reached the inner process
    assert tasks["second", 1]["inputs"][0]["origin"] == "task:first"
    assert "origin" not in tasks["again", 2]["inputs"][0]  # another process may have made it
    assert tasks["near", 1]["inputs"][0]["origin"] == "task:second"
    assert (run["status"], run["tally"]) == ("failed", {"planned": 5, "finished": 4, "failed": 1})
    assert run["transactions"]["intent"] == 6
    assert "1 tasks ran and left no record of their end (killed)" in result.stderr
    audit = project.scichain("audit")
    assert "killed" in audit.stdout
    assert "SC-RUN-006" in audit.stdout
    assert project.verdict() == 0
