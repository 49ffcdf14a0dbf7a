"""The examples for Parsl: they find what is known, their record says so, and a meddled result is named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.workflows import CLOSING, TIMEOUT_S, Project, environment

pytest.importorskip("parsl", reason="Parsl is not installed: pip install 'scichain-wf[parsl]'")
MISSING = [program for program in ("makeblastdb", "blastp") if shutil.which(program) is None]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def copied(name: str, directory: Path) -> Project:
    """An example, in a directory of its own."""
    shutil.copytree(EXAMPLES / name, directory, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    return Project(directory, "")


def run(project: Project, program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run its program as the README says."""
    return subprocess.run(
        [sys.executable, program, *arguments],
        cwd=project.directory,
        env=environment() | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )


def errors(project: Project) -> tuple[int, set[str]]:
    """Exit code of `audit`, and what it finds beyond information."""
    result = project.scichain("audit", "--json")
    found = json.loads(result.stdout)["findings"]
    return result.returncode, {finding["id"] for finding in found if finding["severity"] != "info"}


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (see .ci/run)")
def test_blast_finds_the_families_however_it_is_cut_up(tmp_path: Path) -> None:
    project = copied("blast", tmp_path / "search")
    table, tables = project.directory / "results/best.tsv", []
    for arguments in ([], ["--executor", "nodes", "--chunks", "3"]):
        result = run(project, "blast.py", *arguments)
        assert result.returncode == 0, result.stderr
        assert result.stdout == "50 queries have a hit: results/best.tsv\n"
        assert len(CLOSING.findall(result.stderr)) == 1, result.stderr
        tables.append(table.read_bytes())
    assert tables[0] == tables[1]
    found = {line.split("\t")[0]: line.split("\t")[1].split(".")[0] for line in tables[0].decode().splitlines()[1:]}
    truth = dict(line.split("\t") for line in (project.directory / "data/truth.tsv").read_text().splitlines())
    assert found == {query: family for query, family in truth.items() if family != "none"}

    first, second = (run["tasks"] for run in project.runs())
    assert [sum(task["name"] == "search" for task in tasks) for tasks in (first, second)] == [4, 3]
    assert [{task["executor"] for task in tasks} for tasks in (first, second)] == [{"htex"}, {"nodes"}]
    [merged] = [task for task in second if task["name"] == "best"]
    assert {given["origin"].partition("[")[0] for given in merged["inputs"]} == {"task:search"}
    assert errors(project) == (0, set())

    table.write_bytes(tables[0].replace(b"family", b"Family", 1))
    verified = project.scichain("verify")
    assert verified.returncode == 1
    assert "results/best.tsv" in verified.stdout
    assert "truth.tsv" not in verified.stdout


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PATH": ""}, "not installed: makeblastdb, blastp (Debian: apt install ncbi-blast+)"),
        pytest.param(
            {},
            "no simulate.py here: run this in a copy of the example's directory",
            marks=pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (see .ci/run)"),
        ),
    ],
)
def test_blast_says_what_it_lacks_and_does_nothing(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    project = Project(tmp_path, "")
    result = run(project, str(EXAMPLES / "blast/blast.py"), **variables)
    assert result.returncode == 2
    assert result.stderr.endswith(f"error: {said}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["Snakefile"]


def test_the_threshold_is_the_known_one_and_values_are_followed(tmp_path: Path) -> None:
    project = copied("percolation", tmp_path / "study")
    result = run(project, "percolation.py", "--executor", "threads")
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.rpartition(" ")[2]) == pytest.approx(0.5927, abs=0.005)
    tasks = project.tasks()
    by_name = {task["name"]: task for task in tasks}
    assert len(tasks) == 52
    assert {given["origin"] for given in by_name["threshold"]["inputs"]} == {f"task:{by_name['curve']['task']}"}
    assert len({given["uri"] for given in by_name["share"]["inputs"]}) == 4
    assert {given["origin"].partition("[")[0] for given in by_name["share"]["inputs"]} == {"task:conducting"}
    assert errors(project) == (0, set())
