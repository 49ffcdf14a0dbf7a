"""Real Parsl under its own executors: one record for each try, digests of what is there, results as without us."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.workflows import Project, closing, environment, run_program
from tests.integration.service_kit import wait_until

pytest.importorskip("parsl", reason="Parsl is not installed: pip install 'scichain-wf[parsl]'")
PROGRAM = Path(__file__).with_name("parsl_program.py")
TIMEOUT_S = 120


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program, in a directory of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    return run_program(PROGRAM, directory, *arguments, timeout_s=TIMEOUT_S)


def sha256(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def of(tasks: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The records of an app's tasks, in the order of task and try."""
    return sorted((task for task in tasks if task["name"] == name), key=lambda task: (task["task"], task["attempt"]))


@pytest.fixture(scope="module", params=["threads", "htex", "nodes"])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A recorded run: its directory, what it printed, its record."""
    directory = tmp_path_factory.mktemp(request.param)
    result = run(directory, request.param)
    assert result.returncode == 0, result.stderr
    project = Project(directory, "")
    [shown] = project.runs()
    return project, result, shown


def test_results_are_those_of_a_plain_run(recorded: Any, tmp_path: Path) -> None:
    """Spec: HOOK-1."""
    plain = run(tmp_path, "threads", "plain")
    assert plain.returncode == 0, plain.stderr
    assert json.loads(recorded[1].stdout) == json.loads(plain.stdout)
    assert not (tmp_path / ".scichain").exists()


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_standard_error_that_takes_nothing_changes_nothing(recorded: Any, tmp_path: Path, redirection: str) -> None:
    """Spec: HOOK-1."""
    executor = recorded[0].directory.name.rstrip("0123456789")
    (tmp_path / ".scichain").write_text("a file is in the way, which has to be said")
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, str(PROGRAM), executor]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    assert json.loads(result.stdout) == json.loads(recorded[1].stdout)


def test_every_try_has_one_record_and_the_chain_verifies(recorded: Any) -> None:
    project, result, shown = recorded
    tries = Counter((task["task"], task["attempt"]) for task in shown["tasks"])
    assert set(tries.values()) == {1}
    statuses = Counter((task["name"], task["status"]) for task in shown["tasks"])
    assert statuses == {
        ("write", "ok"): 1,
        ("ends_with", "failed"): 2,
        ("count", "ok"): 1,
        ("double", "ok"): 1,
        ("double", "failed"): 1,  # its dependency failed
        ("second_time", "failed"): 1,
        ("second_time", "ok"): 1,
        ("never", "failed"): 2,
        ("add", "ok"): 4,
        ("add", "cached"): 2,
        ("joined", "ok"): 1,
        ("slow", "failed"): 2,
    }
    assert shown["status"] == "failed"
    assert shown["tally"] == {"planned": 15, "finished": 11, "failed": 4}
    assert closing(result)[1] == str(len(shown["tasks"]))
    # A node of NodeExecutor, and one that `AgentLauncher` started, has an agent of its own.
    assert ("slot 2" in closing(result)[6]) is not project.directory.name.startswith("threads")
    assert project.verdict() == 0
    # `AgentLauncher(tail_dir=...)`: the agent's tail lay there, and is gone.
    assert ("a tail: " in result.stderr) is project.directory.name.startswith("htex")
    wait_until(lambda: not list((project.directory / "tails").iterdir()), "the agent ends and removes its tail")


def test_files_values_and_failures_are_described(recorded: Any) -> None:
    project, _, shown = recorded
    tasks, here = shown["tasks"], project.directory
    [wrote] = of(tasks, "write")
    assert {found["role"]: found["digest"] for found in wrote["outputs"]} == {
        "outputs[0]": sha256(here / "out.txt"),
        "stdout": sha256(here / "log.txt"),
    }
    [counted] = of(tasks, "count")
    by_role = {found["role"]: found for found in counted["inputs"]}
    assert by_role["args[0][group][0]"]["origin"] == "source"
    assert by_role["args[0][group][0]"]["digest"] == sha256(here / "given.txt")
    assert by_role["inputs[0]"]["origin"] == f"task:{wrote['task']}"
    doubled = next(task for task in of(tasks, "double") if task["status"] == "ok")
    [returned] = counted["outputs"]
    [taken] = doubled["inputs"]
    assert (taken["uri"], taken["digest"], taken["origin"]) == (
        returned["uri"],
        returned["digest"],
        f"task:{counted['task']}",
    )
    assert {task["exit_status"] for task in of(tasks, "ends_with")} == {3}
    assert {task["error"]["class"] for task in of(tasks, "never")} == {"RuntimeError"}
    [dependent] = [task for task in of(tasks, "double") if task["status"] == "failed"]
    assert dependent["error"]["class"] == "DependencyError"
    hits = [task for task in of(tasks, "add") if task["status"] == "cached"]
    assert {found["digest"] for task in hits for found in task["outputs"]} == {
        f"sha256:{hashlib.sha256(b'2').hexdigest()}"
    }
    first = next(task for task in of(tasks, "add") if task["params"] == {"args": [1]} and task["status"] == "ok")
    assert [[(given["role"], given["uri"], given["origin"]) for given in task["inputs"]] for task in hits] == [
        [("memo", first["outputs"][0]["uri"], f"task:{first['task']}")]
    ] * 2
    assert {task["code"]["digest"] for task in hits} == {first["code"]["digest"]}
    assert {task["executor"] for task in of(tasks, "write")} == {"of-the-test"}


def test_what_is_no_app_is_refused_with_advice() -> None:
    from parsl import python_app

    from scichain_parsl import traced

    def plain() -> None:
        """Not an app."""

    with pytest.raises(TypeError, match=r"above @python_app, @bash_app or @join_app; plain is not an app yet"):
        traced(plain)
    app: Any = python_app(plain)
    assert traced(app) is app
    place = app.func
    assert traced(app).func is place  # a second time changes nothing


def test_a_chain_that_cannot_be_used_stops_nothing_unless_strict(tmp_path: Path) -> None:
    """Spec: HOOK-1."""
    (tmp_path / "scichain.toml").write_text('chain = "/dev/null"\n', encoding="utf-8")
    result = run(tmp_path, "threads")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["wrote"] == 0
    assert "scichain: this run is not recorded: " in result.stderr
    (tmp_path / "scichain.toml").write_text('chain = "/dev/null"\nstrict = true\n', encoding="utf-8")
    refused = run(tmp_path, "threads")
    assert refused.returncode == 1
    assert "/dev/null" in refused.stderr
    assert not refused.stdout


def test_odd_values_and_errors_are_recorded_and_come_to_what_they_come_to_without_us(tmp_path: Path) -> None:
    """Spec: HOOK-1."""
    result = run_program(PROGRAM.with_name("parsl_odd.py"), tmp_path, "threads", timeout_s=TIMEOUT_S)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {
        "versions": [1, 1, 2, 2],  # without us, whose memo key knows the code, four times 1
        "fails": "Unsayable",
        "again": "Unsayable",
        "odd": 3,
        "endless": 1,
        "nowhere": 1,
        "long": "AppTimeout",
    }
    assert "provenance is incomplete" not in result.stderr
    [shown] = Project(tmp_path, "").runs()
    statuses = Counter((task["name"], task["status"]) for task in shown["tasks"])
    # Two tries of each; that of a memo hit fails, too.
    assert statuses == {
        ("version", "ok"): 2,
        ("version", "cached"): 2,
        ("fails", "failed"): 4,
        ("takes", "ok"): 3,
        ("reads_long", "failed"): 2,
    }
    assert set(Counter((task["task"], task["attempt"]) for task in shown["tasks"]).values()) == {1}
    assert {task["error"]["class"] for task in of(shown["tasks"], "fails")} == {"Unsayable"}
    [nowhere] = [task["inputs"] for task in of(shown["tasks"], "takes") if task["inputs"]]
    assert [(found["uri"], found["state"]) for found in nowhere] == [("http://127.0.0.1:1/nowhere", "unhashed")]
