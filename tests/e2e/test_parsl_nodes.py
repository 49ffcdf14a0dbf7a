"""NodeExecutor on this host: what goes wrong with tasks, workers, nodes and blocks, and what is recorded then."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.workflows import Project, run_program
from tests.integration.service_kit import wait_until

pytest.importorskip("parsl", reason="Parsl is not installed: pip install 'scichain-wf[parsl]'")
PROGRAM = Path(__file__).with_name("parsl_nodes.py")
TIMEOUT_S = 150


def play(directory: Path, *scenes: str) -> tuple[dict[str, Any], str]:
    """What scenes of the program came to, and its standard error."""
    done = run_program(PROGRAM, directory, *scenes, timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found, done.stderr


def test_a_task_that_cannot_be_loaded_returned_or_survived_fails_with_a_word_and_holds_nobody_up(
    tmp_path: Path,
) -> None:
    """Spec: HOOK-1."""
    result, _ = play(tmp_path, "trouble")
    found = result["trouble"]
    assert "SerializationError" in found["unpicklable"]
    assert "unpicklable (its result)" in found["unpicklable"]
    assert found["odd"].startswith("AppException: ValueError: odd (the exception itself does not pickle")
    assert found["exits"] == "AppException: the task called exit(4); raise an exception instead"
    assert found["missing"].startswith("ModuleNotFoundError: No module named 'only_here'; a worker on ")
    assert "set PYTHONPATH in the provider's worker_init" in found["missing"]
    assert found["dies"] == "alive"
    assert found["big"] == 2 * (9 << 20)
    # Parsl itself loads ZeroMQ's library; a socket of it would come with threads of its own.
    assert not [name for name in found["threads"] if "ZMQ" in name.upper()]
    files, mapped = found["tails"]
    assert set(mapped) <= set(files)
    assert mapped
    wait_until(lambda: not list((tmp_path / "tails").iterdir()), "the agent ends and removes its tail")
    [shown] = Project(tmp_path, "").runs()
    tries = Counter((task["name"], task["status"]) for task in shown["tasks"])
    assert tries["there", "failed"] == 2  # no worker could load it; the main process recorded both tries
    assert tries["dies", "ok"] == 1
    assert max(Counter((task["task"], task["attempt"]) for task in shown["tasks"]).values()) == 1
    assert {task["executor"] for task in shown["tasks"] if task["name"] != "there"} == {"nodes"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a mount namespace")
def test_a_node_without_shared_memory_says_so_and_its_records_go_to_the_spool(tmp_path: Path) -> None:
    """Spec: HOOK-1."""
    result, said = play(tmp_path, "without_shm")
    assert result["without_shm"]["results"]
    log = "".join(path.read_text("utf-8") for path in tmp_path.glob("runinfo/000/submit_scripts/*.err"))
    assert log.count("no agent can work on this host: cannot be made: ") == 1
    assert "(`scichain-wf doctor` tells what helps)" in log
    project = Project(tmp_path, "")
    [shown] = project.runs()
    assert Counter((task["name"], task["status"]) for task in shown["tasks"]) == {("twice", "ok"): 3}
    assert "0 spool" not in said
    assert project.verdict() == 0


def test_a_killed_node_loses_no_task_and_nothing_that_was_recorded(tmp_path: Path) -> None:
    """Spec: LOSS-1."""
    result, said = play(tmp_path, "blocks")
    found = result["blocks"]
    assert found["first"] == 2
    assert found["new"] >= 1
    assert found["results"] == [0] * 60
    assert found["written"] == [str(number) for number in range(60)]
    project = Project(tmp_path, "")
    [shown] = project.runs()
    ended = Counter(task["task"] for task in shown["tasks"] if task["name"] == "writes" and task["status"] == "ok")
    assert len(ended) == 60
    assert max(Counter((task["task"], task["attempt"]) for task in shown["tasks"]).values()) == 1
    assert project.verdict() == 0
    assert "slot 2" in said.partition("votes by ")[2]


@pytest.fixture(scope="module")
def plays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Scenes that one process can play, one after the other."""
    here = tmp_path_factory.mktemp("plays")
    found, _ = play(here, "two", "refused", "drained")
    return found | {"here": here}


def test_two_kernels_of_one_process_have_nodes_of_their_own(plays: dict[str, Any]) -> None:
    assert plays["two"] == {"results": [2, 4], "after": 6}
    assert not list(plays["here"].glob("*/*/*/nodes/access"))  # the secret of the nodes is gone with the executor


def test_blocks_that_never_come_up_fail_their_tasks_with_the_reason(plays: dict[str, Any]) -> None:
    found = plays["refused"]
    assert found["no node"].startswith("BadStateException: Executor nodes failed due to: ")
    assert "no node of this block reached the main process" in found["no node"]
    assert found["specification"].startswith("InvalidResourceSpecification")
    [shown] = [run for run in Project(plays["here"], "").runs() if run["tasks"]]
    tries = [(task["name"], task["attempt"], task["status"], task["error"]["class"]) for task in shown["tasks"]]
    assert sorted(tries) == [("ids", 1, "failed", "BadStateException"), ("ids", 2, "failed", "BadStateException")]
    assert found["again"] == "NodeExecutor nodes was shut down: make a new one for each `parsl.load`"


def test_a_block_that_is_scaled_in_finishes_what_it_runs_and_gives_back_the_rest(plays: dict[str, Any]) -> None:
    found = plays["drained"]
    assert len(found["ended"]) == len(found["left"]) == 1
    assert found["ended"] != found["left"]
    assert found["lost"] == []
