"""Staging, checkpoints and monitoring under each executor: the second of two runs takes all from the first."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.workflows import Project, run_program

pytest.importorskip("parsl", reason="Parsl is not installed: pip install 'scichain-wf[parsl]'")
pytest.importorskip("sqlalchemy", reason="Parsl's monitoring needs it: pip install 'parsl[monitoring]'")
PROGRAM = Path(__file__).with_name("parsl_twice.py")
TIMEOUT_S = 240  # a bound for what hangs: it takes 15
GIVEN = f"sha256:{hashlib.sha256(b'given').hexdigest()}"
FIVE = f"sha256:{hashlib.sha256(b'5').hexdigest()}"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Any], list[dict[str, Any]]]:
    """Both runs: their directory, what the program printed, what was recorded."""
    here = tmp_path_factory.mktemp("twice")
    done = run_program(PROGRAM, here, timeout_s=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    project = Project(here, "")
    return project, json.loads(done.stdout), project.runs()


def tasks_of(run: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The records of the tasks that each executor was given, in their order; told by their first argument."""
    found: dict[str, list[dict[str, Any]]] = {}
    for task in sorted(run["tasks"], key=lambda task: int(task["task"].partition("id=")[2][:-1])):
        found.setdefault(task["params"]["args"][0], []).append(task)
    return found


@pytest.mark.parametrize("label", ["threads", "htex", "nodes"])
def test_what_is_staged_has_the_name_it_has_in_its_store(label: str, played: Any) -> None:
    _, said, (first, _) = played
    assert said["first"][label] == [5, 0, 5]
    fetched, copied, again = tasks_of(first)[label]
    assert {task["status"] for task in (fetched, copied, again)} == {"ok"}
    assert {task["executor"] for task in (fetched, copied, again)} == {label}
    [remote], [local], [handed_on] = (task["inputs"] for task in (fetched, copied, again))
    assert (remote["uri"], remote["origin"], remote["digest"]) == (f"{said['url']}/given.txt", "source", GIVEN)
    assert (local["origin"], local["digest"]) == ("source", GIVEN)
    assert local["uri"].startswith("work:")
    assert (handed_on["origin"], handed_on["digest"]) == (f"task:{copied['task']}", GIVEN)
    assert [found["digest"] for task in (fetched, copied, again) for found in task["outputs"]] == [FIVE, GIVEN, FIVE]


@pytest.mark.parametrize("label", ["threads", "htex", "nodes"])
def test_a_second_run_records_what_it_took_from_the_first(label: str, played: Any) -> None:
    _, said, (first, second) = played
    assert said["second"] == said["first"]
    before, after = tasks_of(first)[label], tasks_of(second)[label]
    assert [task["status"] for task in after] == ["cached"] * 3
    assert [task["task"] for task in after] == [task["task"] for task in before]
    assert [[(found["role"], found["digest"]) for found in task["outputs"]] for task in after] == [
        [(found["role"], found["digest"]) for found in task["outputs"]] for task in before
    ]
    # Whose results they are; what a bash app returns is no artifact, so only its name is told.
    taken = [[(given["role"], given["uri"], given.get("digest")) for given in task["inputs"]] for task in after]
    fetched, copied, again = before
    returned = [(task["outputs"][0]["uri"], task["outputs"][0]["digest"]) for task in (fetched, again)]
    assert [taken[0], taken[2]] == [[("memo", uri, digest)] for uri, digest in returned]
    run, task = first["run"], quote(copied["task"], safe="")
    assert taken[1] == [("memo", f"value:{run}/{task}/1", None)]
    assert [task["code"] for task in after] == [task["code"] for task in before]


def test_monitoring_has_a_row_for_each_task_that_ran_on_a_node(played: Any) -> None:
    project, _, (first, _) = played
    ran = {int(task["task"].partition("id=")[2][:-1]) for task in tasks_of(first)["nodes"]}
    database = sqlite3.connect(project.directory / "runinfo/monitoring.db")
    try:
        tries = database.execute("SELECT task_id FROM try WHERE task_executor = 'nodes'").fetchall()
        running = database.execute("SELECT task_id FROM status WHERE task_status_name = 'running'").fetchall()
        blocks = database.execute("SELECT DISTINCT executor_label FROM block").fetchall()
    finally:
        database.close()
    assert {number for (number,) in tries} == ran
    assert ran <= {number for (number,) in running}  # a task's worker itself says this, by radio
    assert ("nodes",) in blocks
    assert project.verdict() == 0
