"""Snakemake runs that go wrong, or whose recording does: nothing is in the workflow's way, the chain stays sound."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scichain_wf.client import service
from scichain_wf.hooks.recorder import Recorder, new_run_id
from scichain_wf.hooks.records import Engine
from scichain_wf.hooks.session import RunPlan, RunSession
from tests.e2e.workflows import CLOSING, SIMPLE, TIMEOUT_S, Project, closing, environment, simple_project
from tests.interrupts import interruptible
from tests.mounts import mounted, tmpfs

pytest.importorskip("snakemake", reason="Snakemake is not installed: pip install 'scichain-wf[snakemake]'")


FAILING = """
rule all:
    input: "exits", "killed", "missing", "empty", "fine"

rule exits:
    output: "exits"
    log: "exits.log"
    shell: "echo why > {log}; echo part > {output}; exit 3"

rule killed:
    output: "killed"
    shell: "kill -9 $$"

rule missing:
    output: "missing"
    shell: "true"

rule empty:
    output: ensure("empty", non_empty=True)
    shell: "touch {output}"

rule fine:
    output: "fine"
    shell: "echo x > {output}"
"""


def test_each_way_to_fail_is_recorded_and_the_exit_status_is_snakemakes(tmp_path: Path) -> None:
    project = Project(tmp_path, FAILING)
    result = project.snakemake("--keep-going", "--latency-wait", "0")
    assert result.returncode == 1
    closing(result)
    [run] = project.runs()
    assert (run["status"], run["tally"]) == ("failed", {"planned": 5, "finished": 1, "failed": 4})
    tasks = {task["task"]: task for task in run["tasks"]}
    ended = {name: (task["status"], task.get("exit_status"), "error" in task) for name, task in tasks.items()}
    assert ended == {
        "exits": ("failed", 3, True),
        "killed": ("failed", -9, True),  # as by the kernel's out-of-memory killer
        "missing": ("failed", None, False),
        "empty": ("failed", None, False),
        "fine": ("ok", 0, False),
    }
    left = {name: [item["role"] for item in task["outputs"]] for name, task in tasks.items()}
    assert left == {"exits": ["log:0"], "killed": [], "missing": [], "empty": [], "fine": ["0"]}
    assert "provenance is incomplete" not in result.stderr
    assert project.verdict() == 0


SLOW_SERVICE = """
rule all:
    input: "asked"

rule server:
    output: service("socket")
    shell: "trap 'sleep 2; kill $!; exit 3' TERM; echo up > {output}; sleep 600 & wait"

rule asked:
    input: "socket"
    output: "asked"
    shell: "cat {input} > {output}"
"""


def test_a_service_that_takes_its_time_to_end_has_the_exit_status_that_it_ended_with(tmp_path: Path) -> None:
    project = Project(tmp_path, SLOW_SERVICE)
    result = project.snakemake()
    assert result.returncode == 0, result.stderr
    assert "provenance is incomplete" not in result.stderr
    tasks = {task["task"]: task for task in project.tasks()}
    assert (tasks["server"]["status"], tasks["server"]["exit_status"]) == ("ok", 3)
    assert tasks["server"]["ended_us"] > tasks["asked"]["ended_us"] + 1_000_000
    assert project.verdict() == 0


def test_each_retry_is_an_attempt_of_its_own(tmp_path: Path) -> None:
    body = "test $(wc -l < tries) -ge 3 && cp {input} {output}"
    snakefile = SIMPLE.replace('shell: "cp {input} {output}"', f'retries: 3\n    shell: "echo x >> tries; {body}"')
    project = simple_project(tmp_path, snakefile)
    assert project.snakemake().returncode == 0
    tasks = sorted(project.tasks(), key=lambda task: int(task["attempt"]))
    assert [(task["attempt"], task["status"]) for task in tasks] == [(1, "failed"), (2, "failed"), (3, "ok")]
    assert {task["task"] for task in tasks} == {"make"}
    assert project.runs()[-1]["status"] == "ok"
    assert project.verdict() == 0


@pytest.mark.parametrize("arguments", [["--dry-run"], ["--unlock"], ["--summary"], ["--lint"]])
def test_what_runs_no_job_leaves_no_chain(tmp_path: Path, arguments: list[str]) -> None:
    project = simple_project(tmp_path)
    project.write("out.txt", "x\n")
    os.utime(project.directory / "out.txt", (1, 1))
    assert "scichain:" not in project.snakemake(*arguments).stderr
    assert not (project.directory / ".scichain").exists()


def test_installed_plugin_that_is_not_chosen_does_nothing(tmp_path: Path) -> None:
    project = simple_project(tmp_path)
    result = project.snakemake(logger=False)
    assert result.returncode == 0
    assert "scichain" not in result.stderr
    assert not (project.directory / ".scichain").exists()


def test_workflows_in_two_directories_share_a_chain_at_a_time(tmp_path: Path) -> None:
    """Each waits until the other has begun, so that neither begins after the other's end."""
    projects = []
    for mine, theirs in (("one", "two"), ("two", "one")):
        wait = f"touch begun; while [ ! -e ../{theirs}/begun ]; do sleep 0.05; done"
        project = Project(tmp_path / mine, f'rule all:\n  output: "out"\n  shell: "{wait}; echo {mine} > out"\n')
        project.write("scichain.toml", "chain = '../chain'\n")
        projects.append(project)
    begun = [
        subprocess.Popen(
            project.command(), cwd=project.directory, env=environment(), stderr=subprocess.PIPE, encoding="utf-8"
        )
        for project in projects
    ]
    ends = [process.communicate(timeout=TIMEOUT_S)[1] for process in begun]
    assert [process.returncode for process in begun] == [0, 0], ends
    for stderr in ends:
        found = CLOSING.search(stderr)
        assert found is not None, stderr
        assert found.groups()[:2] == ("1", "4")
        assert "provenance is incomplete" not in stderr
    assert [len(run["tasks"]) for run in projects[0].runs()] == [1, 1]
    assert projects[0].verdict() == 0


def test_provenance_trouble_stops_nothing_unless_strict(tmp_path: Path) -> None:
    """Spec: HOOK-1."""
    project = simple_project(tmp_path)
    project.write(".scichain", "a file is in the way")
    strict = project.snakemake("--logger-scichain-strict")
    assert strict.returncode == 1
    assert not (project.directory / "out.txt").exists()
    result = project.snakemake()
    assert result.returncode == 0
    assert "this run is not recorded" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_project_file_configures_a_run_and_a_mistake_in_it_stops_nothing(tmp_path: Path) -> None:
    """Spec: HOOK-1."""
    project = simple_project(tmp_path)
    project.write("scichain.toml", "strict = true\nchain = 'kept/chain'\n")
    assert project.snakemake().returncode == 0
    assert project.scichain("verify", "--chain", "kept/chain").returncode == 0
    project.write("scichain.toml", "strict = true\nchain = 'in.txt'\n")
    project.write("in.txt", "again\n")
    assert project.snakemake().returncode == 1
    project.write("scichain.toml", "nods = 2\n")
    result = project.snakemake()
    assert result.returncode == 0
    assert "scichain.toml:1: there is no such setting; did you mean 'nodes'?" in result.stderr.splitlines()[-1]


def test_project_file_says_what_is_hashed_and_what_is_secret(tmp_path: Path) -> None:
    project = simple_project(tmp_path, SIMPLE.replace("cp {input} {output}", "cp {input} {output}; echo lab-4711 >&2"))
    project.write("scichain.toml", "hash_policy = 'off'\nredact = ['lab-*']\n")
    assert project.snakemake().returncode == 0
    [task] = project.tasks()
    assert [output["state"] for output in task["outputs"]] == ["unhashed"]
    assert "lab-4711" not in json.dumps(task)
    assert task["redacted"] == ["command"]


def test_two_workflows_at_a_time_commit_to_the_service_that_is_up(tmp_path: Path) -> None:
    projects = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        projects.append(simple_project(tmp_path / name))
        projects[-1].write("scichain.toml", "chain = '../chain'\nstrict = true\n")
    assert projects[0].scichain("up").returncode == 0
    try:
        running = [
            subprocess.Popen(p.command(), cwd=p.directory, env=environment(), stderr=subprocess.PIPE, encoding="utf-8")
            for p in projects
        ]
        said = [process.communicate(timeout=TIMEOUT_S)[1] for process in running]
        assert [process.returncode for process in running] == [0, 0], said
        assert all("scichain: run " in text and "1 task," in text for text in said)
    finally:
        ended = projects[0].scichain("down")
    assert ended.returncode == 0, ended.stderr
    assert [len(run["tasks"]) for run in projects[0].runs()] == [1, 1]
    assert projects[1].verdict() == 0


@pytest.mark.parametrize("nodes", ["0", "1000", "many"])
def test_senseless_number_of_agents_is_refused_in_words(tmp_path: Path, nodes: str) -> None:
    result = simple_project(tmp_path).snakemake("--logger-scichain-nodes", nodes)
    assert "Traceback" not in result.stderr
    assert nodes in result.stderr


@pytest.mark.parametrize("agent", [True, False], ids=["agent on this host", "no agent here"])
def test_inner_process_of_another_executor_takes_part_in_the_run(tmp_path: Path, agent: bool) -> None:
    project = simple_project(tmp_path)
    chain_dir = project.directory / ".scichain"
    running = service.start(chain_dir)
    session = RunSession(
        RunPlan(Engine("snakemake", "9"), project.directory, chain_dir),
        running,
        Recorder(running.chain, new_run_id(), running.outboxes, running.spool),
    )
    if not agent:
        running.stop()
    inner = [*project.command(logger=False), "--mode", "remote", "--target-jobs", "make:", "--allowed-rules", "make"]
    run = {"SCICHAIN_RUN_ID": session.recorder.run.hex(), "SCICHAIN_RUN_CHAIN": str(chain_dir)}
    result = subprocess.run(
        [*inner, "--nolock", "--force-use-threads"],
        cwd=project.directory,
        env=environment() | run,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    if not agent:
        assert len(list((chain_dir / "spool" / "new").iterdir())) == 2
        running = service.start(chain_dir)
    running.flush(session.recorder.run)
    running.stop()
    [task] = project.tasks()
    assert (task["task"], task["status"]) == ("make", "ok")
    assert "origin" not in task["inputs"][0]
    assert project.verdict() == 0


ENDS: dict[str, tuple[Callable[[int, int], None], int, str]] = {
    "ctrl-c": (os.killpg, signal.SIGINT, "interrupted"),
    "kill -INT": (os.kill, signal.SIGINT, "interrupted"),
    "kill": (os.kill, signal.SIGTERM, "ok"),  # Snakemake lets what runs come to its end, and begins nothing more
}


@pytest.mark.parametrize("how", ENDS)
def test_interrupt_leaves_a_consistent_chain(tmp_path: Path, how: str) -> None:
    last = 'rule last:\n    input: "out.txt"\n    output: "last"\n    shell: "cp {input} {output}"\n'
    snakefile = SIMPLE.replace("cp {input} {output}", "echo x > started; sleep 3; cp {input} {output}")
    project = simple_project(tmp_path, snakefile.replace('input: "out.txt"', 'input: "last"', 1) + last)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would inherit SIG_IGN
    process = subprocess.Popen(
        project.command(),
        cwd=project.directory,
        env=interruptible(environment()),
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + TIMEOUT_S
    while not (project.directory / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    send, number, status = ENDS[how]
    send(process.pid, number)
    _, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode != 0
    assert "scichain: run " in stderr
    [run] = project.runs()
    assert run["status"] == "interrupted"
    assert [(task["task"], task["status"]) for task in run["tasks"]] == [("make", status)]
    assert project.verdict() == 0


def test_snakemake_of_another_version_is_named_and_nothing_else_changes(tmp_path: Path) -> None:
    """Spec: HOOK-1."""
    project = simple_project(tmp_path)
    for version, strict in (("8.30.1", []), ("10.0.0", ["--logger-scichain-strict"])):
        code = f"import snakemake; snakemake.__version__ = '{version}'; from snakemake.cli import main; main()"
        result = project.instead(code, *strict)
        assert f"Snakemake {version} is not supported" in result.stderr
        assert "records 9.27 and newer, below 10: install another" in result.stderr
        assert "Traceback" not in result.stderr
        assert result.returncode == len(strict)
        assert (project.directory / "out.txt").exists() != bool(strict)
        (project.directory / "out.txt").unlink(missing_ok=True)
    assert not (project.directory / ".scichain").exists()


def test_plugin_without_its_library_changes_nothing_unless_strict(tmp_path: Path) -> None:
    """Spec: HOOK-1."""
    project = simple_project(tmp_path)
    project.write("scichain_wf/__init__.py", "")
    project.variables["PYTHONPATH"] = str(project.directory)  # found before the installed one
    strict = project.snakemake("--logger-scichain-strict")
    assert strict.returncode == 1
    assert not (project.directory / "out.txt").exists()
    result = project.snakemake()
    assert result.returncode == 0, result.stderr
    by_name = project.snakemake("--executor", "scichain", "--forceall", logger=False)
    assert by_name.returncode == 0, by_name.stderr
    assert (project.directory / "out.txt").exists()
    for said in (strict.stderr, result.stderr, by_name.stderr):
        assert "this run is not recorded: No module named 'scichain_wf." in said
        assert "pip install --force-reinstall 'scichain-wf[snakemake]'" in said


def test_read_only_workflow_directory_ends_as_without_recording(tmp_path: Path) -> None:
    """Spec: HOOK-1."""
    source, point, elsewhere = simple_project(tmp_path / "source"), tmp_path / "mounted", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "in.txt").write_text("x\n")
    with mounted(point, ["mount", "--bind", "-o", "ro", str(source.directory), str(point)]):
        source.directory = point
        plain, recorded = source.snakemake(logger=False), source.snakemake()
        assert recorded.returncode == plain.returncode == 1
        assert "Traceback" not in recorded.stderr.replace(plain.stderr, "") or "Traceback" in plain.stderr
        result = source.snakemake("--directory", str(elsewhere), "--logger-scichain-chain", "chain")
    assert result.returncode == 0, result.stderr
    assert (elsewhere / "out.txt").exists()
    assert "this run is not recorded" in result.stderr.splitlines()[-1]
    assert "Read-only file system" in result.stderr.splitlines()[-1]


def test_disk_that_fills_up_during_a_run_stops_nothing_and_the_next_run_takes_the_records_in(tmp_path: Path) -> None:
    """Spec: HOOK-1."""
    with tmpfs(tmp_path / "small", "size=16m") as small:
        fill = f"cp {{input}} {{output}}; head -c 100M /dev/zero > {small}/fill || true"
        project = simple_project(tmp_path / "work", SIMPLE.replace("cp {input} {output}", fill))
        project.write("scichain.toml", f"chain = '{small}/chain'\n")
        result = project.snakemake("--logger-scichain-flush-timeout-s", "3")
        assert result.returncode == 0, result.stderr
        assert "provenance is incomplete" in result.stderr
        assert "the next run on this chain takes them in" in result.stderr
        assert "Traceback" not in result.stderr
        (small / "fill").unlink()
        (project.directory / "Snakefile").write_text(SIMPLE)
        again = project.snakemake("--forceall")
        assert again.returncode == 0, again.stderr
        assert [(run["status"], len(run["tasks"])) for run in project.runs()] == [("ok", 1), ("ok", 1)]
        assert project.verdict() == 0
