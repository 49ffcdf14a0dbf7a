"""A rule whose code is a CWL tool, run by the real cwltool (`tox -e cwl`: it needs older packages than others here)."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.workflows import Project

pytestmark = pytest.mark.skipif(shutil.which("cwltool") is None, reason="cwltool is not on the PATH: run `tox -e cwl`")

SNAKEFILE = """
rule all:
    input: "sorted.txt"

include: "rules/sort.smk"
"""
RULE = """
rule sort:
    input: text="in.txt"
    output: sorted="{name}.txt"
    params: backwards=True
    cwl: "{wildcards.name}.cwl"
"""
TOOL = """cwlVersion: v1.2
class: CommandLineTool
baseCommand: sort
inputs:
  backwards: {type: boolean, inputBinding: {prefix: --reverse}}
  text: {type: File, inputBinding: {}}
  sorted: string
stdout: $(inputs.sorted)
outputs:
  out: {type: stdout}
"""
PROGRAM = """#!/bin/sh
set -- $(echo "$@" | sed 's#file:/*#file:///#')
exec {cwltool} "$@"
"""
"""Snakemake 9.27 writes `file:/path`, which the cwltool of 2026 does not take."""


def test_cwl_tool_is_recorded_by_its_content_with_what_it_read_and_made(tmp_path: Path) -> None:
    project = Project(tmp_path, SNAKEFILE)
    project.write("in.txt", "a\nb\n")
    project.write("rules/sort.smk", RULE)
    project.write("rules/sorted.cwl", TOOL)
    project.write("bin/cwltool", PROGRAM.format(cwltool=shutil.which("cwltool"))).chmod(0o755)
    project.variables["PATH"] = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    result = project.snakemake("--logger-scichain-strict")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "sorted.txt").read_text() == "b\na\n"
    [task] = project.tasks()
    assert (task["task"], task["status"], task["exit_status"]) == ("sort[name=sorted]", "ok", 0)
    assert task["code"] == {"kind": "cwl", "digest": "sha256:" + hashlib.sha256(TOOL.encode()).hexdigest()}
    assert task["params"] == {"backwards": True}
    [read], [made] = task["inputs"], task["outputs"]
    assert (read["role"], read["digest"]) == ("text", "sha256:" + hashlib.sha256(b"a\nb\n").hexdigest())
    assert (made["role"], made["digest"]) == ("sorted", "sha256:" + hashlib.sha256(b"b\na\n").hexdigest())
    assert project.verdict() == 0
    (tmp_path / "rules/sorted.cwl").write_text(TOOL.replace("true", "false") + "# another\n")
    assert project.snakemake("--forceall").returncode == 0
    [again] = project.tasks()
    assert again["code"]["digest"] != task["code"]["digest"]
