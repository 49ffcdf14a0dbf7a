"""Strict mode where something is wrong before anything could be recorded; several workflows of one program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.workflows import SIMPLE, environment, simple_project

pytest.importorskip("snakemake", reason="Snakemake is not installed: pip install 'scichain-wf[snakemake]'")


def test_strict_beside_a_mistake_runs_nothing(tmp_path: Path) -> None:
    project = simple_project(tmp_path)
    project.write("scichain.toml", "strict = true\nnods = 2\n")
    result = project.snakemake()
    assert result.returncode == 1
    assert "did you mean 'nodes'?" in result.stderr
    assert not (project.directory / "out.txt").exists()


@pytest.mark.parametrize("strict", [True, False])
def test_job_on_a_node_that_does_not_see_the_chain_is_not_run_if_strict(tmp_path: Path, strict: bool) -> None:
    """Spec: HOOK-1."""
    project = simple_project(tmp_path)
    project.variables = {"SCICHAIN_RUN_ID": "00" * 16, "SCICHAIN_RUN_CHAIN": str(tmp_path / "elsewhere")}
    project.variables["SCICHAIN_STRICT"] = str(strict)
    inner = ["--mode", "remote", "--target-jobs", "make:", "--allowed-rules", "make", "--force-use-threads"]
    result = project.snakemake(*inner, "--nolock", logger=False)
    assert result.returncode == strict
    assert "is not recorded" in result.stderr
    assert (project.directory / "out.txt").exists() is not strict


PROGRAM = """
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import DAGSettings, OutputSettings, ResourceSettings
from snakemake_logger_plugin_scichain import LogHandlerSettings

with SnakemakeApi(OutputSettings(log_handler_settings={"scichain": LogHandlerSettings(strict=True)})) as api:
    for snakefile in ("Snakefile", "other/Snakefile"):
        snakefile = Path(snakefile).absolute()
        workflow = api.workflow(ResourceSettings(cores=2), snakefile=snakefile, workdir=snakefile.parent)
        workflow.dag(DAGSettings()).execute_workflow()
"""


def test_each_workflow_of_a_program_is_a_run_of_its_own(tmp_path: Path) -> None:
    project = simple_project(tmp_path)
    project.write("other/Snakefile", SIMPLE.replace("make", "remake").replace("in.txt", "../out.txt"))
    project.write("scichain.toml", f"chain = '{tmp_path}/chain'\n")
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("scichain: run ") == 2
    runs = project.runs()
    assert [[task["task"] for task in run["tasks"]] for run in runs] == [["make"], ["remake"]]
    assert [run["tally"] for run in runs] == [{"planned": 1, "finished": 1, "failed": 0}] * 2
    [made], [read] = runs[0]["tasks"][0]["outputs"], runs[1]["tasks"][0]["inputs"]
    assert read["digest"] == made["digest"]
    assert project.verdict() == 0
