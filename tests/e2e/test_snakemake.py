"""Whole Snakemake runs: what is recorded, what `verify` says of it, and that nothing is ever in the workflow's way."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kitchen import kitchen
from tests.e2e.workflows import SIMPLE, UNQUOTED, Project, closing, simple_project

pytest.importorskip("snakemake", reason="Snakemake is not installed: pip install 'scichain-wf[snakemake]'")

NODES, FILES = "3", 10_000
CACHED = ("--cache", "cached")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, subprocess.CompletedProcess[str]]:
    if " " in sys.executable:
        pytest.skip(UNQUOTED)
    project = kitchen(tmp_path_factory.mktemp("work flow"), FILES)
    project.variables["SNAKEMAKE_OUTPUT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    project.write("scichain.toml", "size_mtime_above_mib = 1024\n")
    return project, project.snakemake("--logger-scichain-nodes", NODES, *CACHED)


def by_name(tasks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {task["task"]: task for task in tasks}


def test_three_agents_agree_and_the_closing_line_says_so(
    recorded: tuple[Project, subprocess.CompletedProcess[str]],
) -> None:
    _, result = recorded
    assert result.returncode == 0, result.stderr
    tasks, transactions, quorum, poet, spool, voters, _ = closing(result).groups()
    assert (tasks, transactions) == ("27", "56")  # as many intents, the run's start and end
    assert int(quorum) + int(poet) + int(spool) == 56
    assert int(quorum) > 0
    assert [voter.split(" (")[0] for voter in voters.split(", ")] == ["slot 1", "slot 2", "slot 3"]
    assert "Traceback" not in result.stderr
    assert "provenance is incomplete" not in result.stderr


def test_every_attempt_of_every_kind_of_job_has_exactly_one_record(
    recorded: tuple[Project, subprocess.CompletedProcess[str]],
) -> None:
    [run] = recorded[0].runs()
    assert (run["status"], run["tally"]) == ("ok", {"planned": 26, "finished": 26, "failed": 0})
    attempts = Counter((task["task"], task["attempt"], task["status"]) for task in run["tasks"])
    once = (
        "asked bare cached count[part=a] first flag folder huge kept linked logged[part=a] many named noted odd report "
        "scatter second server shadowed sink source updated work[i=2] wrapped"
    )
    assert attempts == Counter(
        [*((name, 1, "ok") for name in once.split()), ("work[i=1]", 1, "failed"), ("work[i=1]", 2, "ok")]
    )


def test_what_each_job_was_given_and_how_it_ended(recorded: tuple[Project, subprocess.CompletedProcess[str]]) -> None:
    project = recorded[0]
    tasks = by_name(project.tasks())
    logged = tasks["logged[part=a]"]
    assert logged["wildcards"] == {"part": "a"}
    assert logged["params"] == {"n": 3, "rate": "0.5", "api_token": "[redacted]"}
    assert logged["redacted"] == ["params"]
    assert logged["command"] == "echo found >> logs/a.log; grep a data/in.txt > made/a.part"
    assert (logged["threads"], logged["exit_status"], logged["attempt"]) == (2, 0, 1)
    assert (tasks["server"]["exit_status"], "error" in tasks["server"]) == (-15, False)
    kinds = {name: tasks[name]["code"]["kind"] for name in ("bare", "count[part=a]", "report", "noted", "wrapped")}
    assert list(kinds.values()) == ["shell", "run", "script", "notebook", "wrapper"]
    for name, file in (("report", "report.py"), ("noted", "note.ipynb"), ("wrapped", "wrapper/wrapper.py")):
        content = (project.directory / file).read_bytes()
        assert tasks[name]["code"]["digest"] == "sha256:" + hashlib.sha256(content).hexdigest()
    assert "code" not in tasks["flag"]


def test_what_each_job_read_and_made(recorded: tuple[Project, subprocess.CompletedProcess[str]]) -> None:
    project = recorded[0]
    tasks = by_name(project.tasks())
    made = {name: [(item["role"], item["state"]) for item in task["outputs"]] for name, task in tasks.items()}
    assert made["logged[part=a]"] == [("0", "file"), ("log:0", "file"), ("benchmark", "file")]
    assert made["shadowed"] == [("0", "file"), ("log:0", "file")]
    assert made["count[part=a]"] == [("0", "temporary")]
    assert made["folder"] == made["many"] == made["odd"] == [("0", "directory")]
    assert made["scatter"] == [("0", "directory"), ("0/", "file"), ("0/", "file")]
    assert made["source"] == made["server"] == [("0", "pipe")]
    assert made["huge"] == [("0", "unhashed")]
    assert made["flag"] == made["kept"] == made["updated"] == [("0", "file")]
    assert tasks["huge"]["outputs"][0]["policy"] == "size-mtime"
    assert tasks["huge"]["outputs"][0]["size_bytes"] == 10 << 30
    assert tasks["many"]["outputs"][0]["files"] == FILES
    assert tasks["shadowed"]["outputs"][0]["uri"].endswith("/made/shadowed")
    origins = {
        name: [(item["role"], item["state"], item.get("origin")) for item in task["inputs"]]
        for name, task in tasks.items()
    }
    assert origins["logged[part=a]"] == [("reads", "file", "source")]
    assert origins["count[part=a]"] == [("0", "file", "task:logged[part=a]")]
    assert origins["report"] == [("counts[0]", "file", "task:count[part=a]")]
    assert origins["sink"] == [("0", "pipe", "task:source")]
    assert origins["asked"] == [("0", "pipe", "task:server")]
    assert origins["work[i=1]"] == origins["work[i=2]"] == [("0", "file", "task:scatter")]
    assert origins["flag"] == [("0", "directory", "task:folder")]
    assert ["unstable" in item for item in tasks["bare"]["inputs"]] == [False, True]  # the job itself wrote to it
    digests = {item["uri"]: item["digest"] for task in tasks.values() for item in task["outputs"] if "digest" in item}
    read = [item for task in tasks.values() for item in task["inputs"] if item.get("origin", "").startswith("task:")]
    assert all(digests[item["uri"]] == item["digest"] for item in read if item["state"] != "pipe")


def test_changed_file_is_named_and_a_restored_one_verifies(
    recorded: tuple[Project, subprocess.CompletedProcess[str]],
) -> None:
    project = recorded[0]
    clean = project.scichain("verify")
    assert clean.returncode == 0, clean.stdout + clean.stderr
    assert clean.stdout.startswith("VERIFIED (self-recorded: one principal)")
    report = project.directory / "made" / "report"
    content, status = report.read_bytes(), report.stat()
    report.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(report, ns=(status.st_atime_ns, status.st_mtime_ns))
    for arguments in (["verify"], ["verify", "made/report"]):
        failed = project.scichain(*arguments)
        assert failed.returncode == 1
        assert failed.stdout.startswith("FAILED")
        assert "made/report" in failed.stdout
        assert "report, run " in failed.stdout
    assert project.scichain("verify", "made/a.part").returncode == 0
    report.write_bytes(content)
    assert project.verdict() == 0


def test_file_inside_a_recorded_directory_is_missed(recorded: tuple[Project, subprocess.CompletedProcess[str]]) -> None:
    project = recorded[0]
    inside = project.directory / "made" / "folder" / "x"
    content = inside.read_bytes()
    inside.unlink()
    failed = project.scichain("verify")
    inside.write_bytes(content)
    assert failed.returncode == 1
    assert "made/folder" in failed.stdout


def test_cache_hit_is_no_run_and_what_is_updated_is_an_input_too(
    recorded: tuple[Project, subprocess.CompletedProcess[str]],
) -> None:
    project = recorded[0]
    before = by_name(project.tasks())
    (project.directory / "made" / "cached").unlink()
    project.write("data/in.txt", "another\n")
    result = project.snakemake(*CACHED, "--", "made/cached", "made/updated")
    assert result.returncode == 0, result.stderr
    tasks = by_name(project.tasks())
    assert sorted(tasks) == ["cached", "updated"]
    assert tasks["cached"]["status"] == "cached"
    assert "exit_status" not in tasks["cached"]
    assert [item["state"] for item in tasks["cached"]["outputs"]] == ["cached"]
    earlier = tasks["updated"]["inputs"][-1]
    assert earlier["digest"] == before["updated"]["outputs"][0]["digest"]
    assert tasks["updated"]["outputs"][0]["digest"] != earlier["digest"]
    assert project.verdict() == 0


def test_report_is_the_audits_and_names_what_only_snakemake_knows_of(
    recorded: tuple[Project, subprocess.CompletedProcess[str]],
) -> None:
    project = recorded[0]
    alone = 'rule alone:\n    output: "made/alone"\n    shell: "echo a > {output}"\n'
    with (project.directory / "Snakefile").open("a") as file:
        file.write(alone)
    assert project.snakemake(*CACHED, "--", "made/alone", logger=False).returncode == 0
    result = project.snakemake("--reporter", "scichain", "--", "made/alone", "made/flag", logger=False)
    assert result.returncode == 0, result.stderr
    assert "Snakemake made made/alone, and the chain has no record of it" in result.stderr
    assert result.stderr.count("scichain: Snakemake made ") == 1
    assert "report written to scichain-report.html: VERIFIED" in result.stderr
    assert "VERIFIED" in (project.directory / "scichain-report.html").read_text()


def test_touched_outputs_are_recorded_as_touched_and_as_no_run(
    recorded: tuple[Project, subprocess.CompletedProcess[str]],
) -> None:
    project = recorded[0]
    project.write("data/with space", "another\n")
    result = project.snakemake("--touch", "made/ünï code")
    assert result.returncode == 0, result.stderr
    closing(result)
    run = project.runs()[-1]
    assert run["transactions"] == {"run-start": 1, "task": 1, "run-end": 1}
    [task] = run["tasks"]
    assert (task["task"], task["status"], task["inputs"]) == ("named", "touched", [])
    assert [item["state"] for item in task["outputs"]] == ["touched"]
    assert "digest" in task["outputs"][0]
    assert project.verdict() == 0


def test_up_to_date_workflow_adds_nothing_and_a_changed_input_a_new_version(tmp_path: Path) -> None:
    project = simple_project(tmp_path)
    assert project.snakemake().returncode == 0
    ledger = (project.directory / ".scichain" / "checkpoint").read_bytes()
    again = project.snakemake()
    assert again.returncode == 0
    assert "scichain:" not in again.stderr
    assert (project.directory / ".scichain" / "checkpoint").read_bytes() == ledger
    project.write("in.txt", "changed\n")
    assert closing(project.snakemake())[1] == "1"
    first, second = project.runs()
    versions = [run["tasks"][0]["outputs"][0] for run in (first, second)]
    assert versions[0]["uri"] == versions[1]["uri"]
    assert versions[0]["digest"] != versions[1]["digest"]
    assert project.verdict() == 0
    project.write("out.txt", "x\n")  # the first version is recorded too, but it is not the newest
    assert project.verdict() == 1


def test_odd_file_names_are_recorded_and_verified(tmp_path: Path) -> None:
    names = ["with space", "ünï", "new\nline", "per%cent", "quote'd", "[31mred"]
    snakefile = f"NAMES = {names!r}\nrule all:\n    input: NAMES\n" + "".join(
        f"rule r{n}:\n    output: NAMES[{n}]\n    shell: 'echo {n} > {{output:q}}'\n" for n in range(len(names))
    )
    project = Project(tmp_path / "dir with space", snakefile)
    result = project.snakemake()
    assert result.returncode == 0, result.stderr
    assert len(project.tasks()) == len(names)
    assert project.verdict() == 0
    (project.directory / "[31mred").write_text("changed")
    failed = project.scichain("verify")
    assert failed.returncode == 1
    assert "\x1b" not in failed.stdout


def test_executor_can_be_chosen_by_name(tmp_path: Path) -> None:
    project = simple_project(tmp_path)
    result = project.snakemake("--executor", "scichain", logger=False)
    assert result.returncode == 0, result.stderr
    closing(result)
    assert project.verdict() == 0


def test_chain_can_be_made_before_its_first_run(tmp_path: Path) -> None:
    project = simple_project(tmp_path)
    made = project.scichain("init", "--json")
    assert made.returncode == 0, made.stderr
    root = json.loads(made.stdout)["trust_root"]
    assert project.scichain("init").returncode == 2
    assert project.snakemake().returncode == 0
    verified = project.scichain("verify", "--trust-root", root)
    assert verified.returncode == 0
    assert "pinned by the caller" in verified.stdout
    assert project.scichain("init", "elsewhere").stdout.startswith("made a chain in elsewhere")


def test_chain_directory_can_be_elsewhere(tmp_path: Path) -> None:
    project = simple_project(tmp_path / "project")
    result = project.snakemake("--logger-scichain-chain", "../chains/one")
    assert result.returncode == 0, result.stderr
    command = result.stderr.splitlines()[-1].partition("check with: scichain-wf ")[2].split()
    assert project.scichain(*command).returncode == 0
    assert (tmp_path / "chains" / "one" / "trust-root").exists()


def test_an_output_is_read_once_although_snakemake_gives_it_a_new_time(tmp_path: Path) -> None:
    size = 64 << 20
    project = simple_project(
        tmp_path,
        SIMPLE.replace("cp {input} {output}", f"truncate -s {size} {{output}}")
        + '\nonsuccess:\n    open("io", "w").write(open("/proc/self/io").read())\n',
    )
    assert project.snakemake().returncode == 0
    read = int((project.directory / "io").read_text().split()[1])
    assert size <= read < 2 * size
    [output] = project.tasks()[0]["outputs"]
    assert output["mtime_us"] == (project.directory / "out.txt").stat().st_mtime_ns // 1_000
    assert project.verdict() == 0
