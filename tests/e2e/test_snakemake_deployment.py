"""Environments that Snakemake deploys for a rule: what of them is recorded.

The programs that make and enter them cannot be had where tests run, so small ones stand in for them: Snakemake asks
them for what it asks the real ones, and they set what those set. What is recorded comes from Snakemake, which is real.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests.e2e.workflows import Project

pytest.importorskip("snakemake", reason="Snakemake is not installed: pip install 'scichain-wf[snakemake]'")

SNAKEFILE = """
rule all:
    input: "isolated", "contained", "modular"

rule isolated:
    output: "isolated"
    conda: "tool.yaml"
    shell: "echo conda ${{CONDA_PREFIX:+active}} > {output}"

rule contained:
    output: "contained"
    container: "image.sif"
    shell: "echo image ${{APPTAINER_NAME:-none}} > {output}"

rule modular:
    output: "modular"
    envmodules: "tool/1.0", "other/2"
    shell: "cp loaded {output}"
"""
ENVIRONMENT = "channels: [conda-forge]\ndependencies: [tool =1.0]\n"
PROGRAMS = {
    "conda": """#!/bin/sh
case "$*" in
    "info --json") echo "{\\"conda_prefix\\": \\"${0%/bin/conda}\\", \\"platform\\": \\"linux-64\\"}" ;;
    --version) echo conda 25.1.1 ;;
    config*) echo '{"get": {"channel_priority": "strict"}}' ;;
    "env create"*) for prefix; do :; done; mkdir "$prefix" ;;
    clean*) ;;
    *) echo "unexpected: $*" >&2; exit 2 ;;
esac
""",
    "activate": 'export CONDA_PREFIX="$1"\n',
    "apptainer": """#!/bin/sh
test "$1" = --version && echo apptainer version 1.3.4 && exit
while [ "$1" != bash ]; do image=$1; shift; done
APPTAINER_NAME=$image exec "$@"
""",
    "module": '#!/bin/sh\nif [ "$1" = load ]; then echo "$*" > loaded; fi\n',
}


def test_environments_are_recorded_where_snakemake_made_a_job_run_in_them(tmp_path: Path) -> None:
    project = Project(tmp_path / "work", SNAKEFILE)
    project.write("tool.yaml", ENVIRONMENT)
    project.write("image.sif", "")
    for name, script in PROGRAMS.items():
        project.write(f"../base/bin/{name}", script).chmod(0o755)
    project.variables["PATH"] = f"{tmp_path / 'base/bin'}:{os.environ['PATH']}"
    result = project.snakemake("--software-deployment-method", "conda", "apptainer", "env-modules")
    assert result.returncode == 0, result.stderr
    made = {name: (project.directory / name).read_text() for name in ("isolated", "contained", "modular")}
    assert made == {
        "isolated": "conda active\n", "contained": "image image.sif\n", "modular": "load tool/1.0 other/2\n",
    }  # fmt: skip
    assert {task["task"]: task["environment"] for task in project.tasks()} == {
        "isolated": {"conda": "sha256:" + hashlib.sha256(ENVIRONMENT.encode()).hexdigest()},
        "contained": {"container": "image.sif"},
        "modular": {"modules": ["tool/1.0", "other/2"]},
    }
    result = project.snakemake("--forceall")  # without the flag Snakemake enters none of them
    assert result.returncode == 0, result.stderr
    assert [task["environment"] for task in project.tasks() if "environment" in task] == []
