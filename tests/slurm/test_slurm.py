"""Snakemake's real Slurm executor on a real Slurm: agents on two of three nodes, the third one uses the spool."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kitchen import kitchen
from tests.e2e.workflows import UNQUOTED, simple_project
from tests.slurm.kit import Work, cluster
from tests.testbed import needs

pytest.importorskip("snakemake_executor_plugin_slurm", reason="not installed: run `tox -e slurm`")
pytestmark = needs.slurm

SNAKEFILE = """
def on(node):
    return f"'--nodelist={node}'"

rule all:
    input: "second", "lost", "here"

rule first:
    input: "in.txt"
    output: "first/{node}"
    resources: slurm_extra=lambda wildcards: on(wildcards.node)
    shell: "hostname > {output}; cat {input} >> {output}"

rule second:
    input: "first/n2", "first/n4"
    output: "second"
    resources: slurm_extra=on("n3")
    shell: "(hostname; cat {input}) > {output}"

rule lost:
    input: "in.txt"
    output: "lost"
    resources: slurm_extra=on("n4")
    shell: "kill -9 $PPID; sleep 1; touch {output}"

rule here:
    output: "here"
    localrule: True
    shell: "hostname > {output}"
"""


class Recorded:
    """What one run left."""

    def __init__(self, work: Work, result: subprocess.CompletedProcess[str]) -> None:
        self.result, self.directory = result, work.directory
        self.run = work.run()
        self.audit = work.scichain("audit")

    def attempts(self) -> dict[tuple[str, int], dict[str, Any]]:
        return {(task["task"], task["attempt"]): task for task in self.run["tasks"]}

    def findings(self) -> dict[str, str]:
        """What the audit says, by id."""
        return {finding["id"]: json.dumps(finding) for finding in self.audit["findings"]}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    with cluster(tmp_path_factory.mktemp("slurm"), nodes=4) as (bed, slurm):
        head, *workers = bed.nodes
        work = Work(head, simple_project(bed.shared / "work", SNAKEFILE).directory)
        with work.agents(slurm, workers[:2]):
            result = work.snakemake()
        yield Recorded(work, result)


def test_every_attempt_of_every_job_has_one_record_from_the_node_that_ran_it(recorded: Recorded) -> None:
    assert recorded.result.returncode == 1  # a job was lost
    attempts = recorded.attempts()
    assert len(attempts) == len(recorded.run["tasks"])
    where = {attempt: (task["status"], task["node"]) for attempt, task in attempts.items()}
    assert where == {
        ("first[node=n2]", 1): ("ok", "n2"),
        ("first[node=n4]", 1): ("ok", "n4"),
        ("second", 1): ("ok", "n3"),
        ("here", 1): ("ok", "n1"),
    }
    assert (recorded.directory / "second").read_text() == "n3\nn2\nx\nn4\nx\n"
    assert recorded.run["status"] == "failed"


def test_a_job_that_was_killed_is_an_intent_without_an_end(recorded: Recorded) -> None:
    assert "lost" in recorded.findings()["SC-RUN-006"]
    assert recorded.run["transactions"]["intent"] == len(recorded.run["tasks"]) + 1


def test_what_one_node_made_and_another_read_is_one_file(recorded: Recorded) -> None:
    """Spec: SAFE-5."""
    made = {(item["uri"], item["digest"]) for task in recorded.run["tasks"] for item in task["outputs"]}
    read = recorded.attempts()["second", 1]["inputs"]
    assert {(item["uri"], item["digest"]) for item in read} < made
    counts = recorded.audit["counts"]
    assert {finding["id"] for finding in recorded.audit["findings"] if finding["severity"] != "info"} == {"SC-RUN-006"}
    assert counts["files-match"] == 4
    assert counts.get("contested", 0) == counts.get("unresolved", 0) == 0


def test_the_nodes_with_agents_certified_and_the_one_without_used_the_spool(recorded: Recorded) -> None:
    [closing] = [line for line in recorded.result.stderr.splitlines() if line.startswith("scichain: run ")]
    assert "4 tasks, 11 transactions" in closing
    assert "votes by slot 1 (n2), slot 2 (n3)" in closing
    assert " 7 spool" in closing  # of the head, where the run begins and ends, and of n4


@pytest.mark.slow
@pytest.mark.timeout(1200)  # each job is a Snakemake of its own
@pytest.mark.skipif(" " in sys.executable, reason=UNQUOTED)
def test_every_kind_of_job_has_one_record_for_each_attempt_without_agents_on_the_nodes(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=3) as (bed, _):
        project = kitchen(bed.shared / "kitchen", files=100)
        project.write("scichain.toml", "size_mtime_above_mib = 1024\n")
        work = Work(bed.nodes[0], project.directory)
        work.timeout_s = 900
        work.variables["SNAKEMAKE_OUTPUT_CACHE"] = str(project.write("cache/.keep", "").parent)
        result = work.snakemake("--cache", "cached")
        run, audit = work.run(), work.scichain("audit")
    assert result.returncode == 0, result.stderr
    attempts = Counter((task["task"], task["attempt"]) for task in run["tasks"])
    assert len(attempts) == 27
    assert set(attempts.values()) == {1}
    assert run["tally"] == {"planned": 26, "finished": 26, "failed": 0}
    assert Counter(task["status"] for task in run["tasks"]) == {"ok": 26, "failed": 1}
    assert {task["node"] for task in run["tasks"]} == {"n1", "n2", "n3"}
    assert {task["task"] for task in run["tasks"] if task["node"] == "n1"} == {"flag"}  # Snakemake only touches it
    assert not [finding for finding in audit["findings"] if finding["severity"] != "info"]
