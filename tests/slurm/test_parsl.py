"""Parsl's SlurmProvider and SrunLauncher on a real Slurm: three nodes of NodeExecutor, of which one dies."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.kit import RUN_TIMEOUT_S, Work, cluster
from tests.slurm.parsl_program import TASKS
from tests.testbed import needs
from tests.testbed.cluster import environment

pytest.importorskip("parsl", reason="Parsl is not installed: pip install 'scichain-wf[parsl]'")
pytestmark = needs.slurm
PROGRAM = Path(__file__).with_name("parsl_program.py")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    import scichain_parsl

    with cluster(tmp_path_factory.mktemp("parsl"), nodes=4) as (bed, _):
        head = bed.nodes[0]
        directory = bed.shared / "parsl"
        directory.mkdir()
        variables = environment()
        variables["PYTHONPATH"] += os.pathsep + str(Path(scichain_parsl.__file__).parents[1])
        program = f'cd "$1" && exec "{sys.executable}" "{PROGRAM}" debug'
        command = ["sh", "-c", program, "sh", str(directory)]
        done = head.run(command, check=False, timeout_s=RUN_TIMEOUT_S, env=variables)
        logs = "".join(path.read_text() for path in directory.glob("runinfo/*/submit_scripts/*.std*"))
        assert done.returncode == 0, done.stderr + logs
        work = Work(head, directory)
        run, audit = work.run(), work.scichain("audit")
        content = (directory / "all").read_text()
        yield {"said": done.stderr, "printed": done.stdout, "run": run, "audit": audit, "all": content}


def test_tasks_ran_on_three_nodes_and_each_try_has_one_record(recorded: dict[str, Any]) -> None:
    """Spec: LOSS-1."""
    tasks = recorded["run"]["tasks"]
    assert set(Counter((task["task"], task["attempt"]) for task in tasks).values()) == {1}
    done = [task for task in tasks if task["name"] == "where" and task["status"] == "ok"]
    assert len({task["task"] for task in done}) == TASKS
    assert {task["node"] for task in done} >= {"n2", "n3"}
    # The one that killed its node began there, and was run again elsewhere.
    assert any(finding["id"] == "SC-RUN-006" for finding in recorded["audit"]["findings"])


def test_agents_of_three_nodes_voted(recorded: dict[str, Any]) -> None:
    voters = recorded["said"].partition("votes by ")[2].partition(";")[0]
    hosts = {voter.partition("(")[2].rstrip(")") for voter in voters.split(", ")}
    assert hosts >= {"n2", "n3", "n4"}
    assert len(voters.split(", ")) >= 4


def test_what_was_made_on_one_node_and_read_on_another_is_one_file(recorded: dict[str, Any]) -> None:
    """Spec: SAFE-5."""
    assert recorded["audit"]["counts"].get("contested", 0) == 0
    [gathered] = [task for task in recorded["run"]["tasks"] if task["name"] == "gathered"]
    made = {(item["uri"], item["digest"]) for task in recorded["run"]["tasks"] for item in task["outputs"]}
    assert {(item["uri"], item["digest"]) for item in gathered["inputs"]} < made
    assert len(recorded["all"].replace("n", " ").split()) == TASKS
