"""Whole Snakemake runs: what is recorded, what `verify` says of it, and that nothing is ever in the workflow's way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.workflows import UNQUOTED, Project, closing, simple_project

pytest.importorskip("snakemake", reason="Snakemake is not installed: pip install 'scichain-wf[snakemake]'")

MAIN = """
rule all:
    input: "out/report.txt"

rule split:
    input: "data/in.txt"
    output: "out/{part}.part"
    params: n=3, rate=0.5, api_token="s3cr3t"
    threads: 2
    shell: "grep {wildcards.part} {input} > {output}"

rule count:
    input: "out/{part}.part"
    output: temp("out/{part}.count")
    run:
        with open(output[0], "w") as f:
            f.write(str(len(open(input[0]).read())))

rule folder:
    output: directory("out/folder")
    shell: "mkdir {output} && echo hi > {output}/x"

rule flag:
    input: "out/folder"
    output: touch("out/flag")

rule report:
    input: counts=expand("out/{part}.count", part=["a", "b"]), folder="out/folder", flag="out/flag"
    output: "out/report.txt"
    script: "report.py"
"""
REPORT = 'open(snakemake.output[0], "w").write("".join(open(f).read() for f in snakemake.input.counts))\n'


def main_project(directory: Path) -> Project:
    project = Project(directory, MAIN)
    project.write("data/in.txt", "a\nb\nab\n")
    project.write("report.py", REPORT)
    return project


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, subprocess.CompletedProcess[str]]:
    if " " in sys.executable:
        pytest.skip(UNQUOTED)
    project = main_project(tmp_path_factory.mktemp("work flow"))
    return project, project.snakemake("--logger-scichain-nodes", "3")


def by_name(tasks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {task["task"]: task for task in tasks}


def test_three_agents_agree_and_the_closing_line_says_so(
    recorded: tuple[Project, subprocess.CompletedProcess[str]],
) -> None:
    _, result = recorded
    assert result.returncode == 0, result.stderr
    tasks, transactions, quorum, poet, spool, voters, _ = closing(result).groups()
    assert (tasks, transactions) == ("7", "16")  # seven intents and tasks, the run's start and end
    assert int(quorum) + int(poet) + int(spool) == 16
    assert int(quorum) > 0
    assert [voter.split(" (")[0] for voter in voters.split(", ")] == ["slot 1", "slot 2", "slot 3"]
    assert "Traceback" not in result.stderr


def test_every_kind_of_job_is_recorded_with_what_it_read_and_made(
    recorded: tuple[Project, subprocess.CompletedProcess[str]],
) -> None:
    [run] = recorded[0].runs()
    assert run["status"] == "ok"
    assert run["tally"] == {"planned": 7, "finished": 7, "failed": 0}
    tasks = by_name(run["tasks"])
    assert sorted(tasks) == [
        "count[part=a]",
        "count[part=b]",
        "flag",
        "folder",
        "report",
        "split[part=a]",
        "split[part=b]",
    ]
    split, count, report = tasks["split[part=a]"], tasks["count[part=a]"], tasks["report"]
    assert {task["status"] for task in tasks.values()} == {"ok"}
    assert split["wildcards"] == {"part": "a"}
    assert split["params"] == {"n": 3, "rate": "0.5", "api_token": "[redacted]"}
    assert split["redacted"] == ["params"]
    assert split["command"] == "grep a data/in.txt > out/a.part"
    assert (split["threads"], split["exit_status"], split["attempt"]) == (2, 0, 1)
    assert [task["code"]["kind"] for task in (split, count, report)] == ["shell", "run", "script"]
    assert all("digest" in task["code"] for task in (split, count, report))
    assert [item["origin"] for item in split["inputs"]] == ["source"]
    assert [item["origin"] for item in count["inputs"]] == ["task:split[part=a]"]
    assert [item["role"] for item in report["inputs"]] == ["counts[0]", "counts[1]", "folder", "flag"]
    states = {task: [item["state"] for item in tasks[task]["outputs"]] for task in tasks}
    assert states["count[part=a]"] == ["temporary"]
    assert states["folder"] == ["directory"]
    assert states["flag"] == ["file"]
    made = {item["uri"]: item["digest"] for task in tasks.values() for item in task["outputs"]}
    assert all(made[item["uri"]] == item["digest"] for item in report["inputs"])


def test_changed_file_is_named_and_a_restored_one_verifies(
    recorded: tuple[Project, subprocess.CompletedProcess[str]],
) -> None:
    project = recorded[0]
    clean = project.scichain("verify")
    assert clean.returncode == 0, clean.stdout + clean.stderr
    assert clean.stdout.startswith("VERIFIED (self-recorded: one principal)")
    report = project.directory / "out" / "report.txt"
    content, status = report.read_bytes(), report.stat()
    report.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(report, ns=(status.st_atime_ns, status.st_mtime_ns))
    for arguments in (["verify"], ["verify", "out/report.txt"]):
        failed = project.scichain(*arguments)
        assert failed.returncode == 1
        assert failed.stdout.startswith("FAILED")
        assert "out/report.txt" in failed.stdout
        assert "report, run " in failed.stdout
    assert project.scichain("verify", "out/a.part").returncode == 0
    report.write_bytes(content)
    assert project.verdict() == 0


def test_file_inside_a_recorded_directory_is_missed(recorded: tuple[Project, subprocess.CompletedProcess[str]]) -> None:
    project = recorded[0]
    inside = project.directory / "out" / "folder" / "x"
    content = inside.read_bytes()
    inside.unlink()
    failed = project.scichain("verify")
    inside.write_bytes(content)
    assert failed.returncode == 1
    assert "out/folder" in failed.stdout


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


def test_pipes_and_groups_are_recorded_without_being_opened(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        'rule all:\n    input: "out"\n'
        'rule source:\n    output: pipe("stream")\n    shell: "seq 5 > {output}"\n'
        'rule sink:\n    input: "stream"\n    output: "out"\n    shell: "wc -l < {input} > {output}"\n',
    )
    result = project.snakemake()
    assert result.returncode == 0, result.stderr
    tasks = by_name(project.tasks())
    assert tasks["source"]["outputs"][0]["state"] == tasks["sink"]["inputs"][0]["state"] == "pipe"
    assert "digest" not in tasks["sink"]["inputs"][0]
    assert tasks["sink"]["outputs"][0]["state"] == "file"
    assert project.verdict() == 0


@pytest.mark.skipif(" " in sys.executable, reason=UNQUOTED)
def test_checkpoint_shadow_and_protected_outputs_are_recorded(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        """
def parts(wildcards):
    folder = checkpoints.scatter.get().output[0]
    return [f"done/{name}" for name in sorted(os.listdir(folder)) if not name.startswith(".")]

rule all:
    input: parts, "shadowed", "kept"

checkpoint scatter:
    output: directory("parts")
    shell: "mkdir {output}; for i in 1 2; do echo $i > {output}/$i; done"

rule work:
    input: "parts/{i}"
    output: "done/{i}"
    params: size=lambda wildcards, input: os.path.getsize(input[0])
    shell: "cp {input} {output}"

rule shadowed:
    output: "shadowed"
    shadow: "minimal"
    shell: "touch junk; echo s > {output}"

rule kept:
    output: protected(ensure("kept", non_empty=True))
    shell: "echo k > {output}"
""",
    )
    result = project.snakemake()
    assert result.returncode == 0, result.stderr
    [run] = project.runs()
    tasks = by_name(run["tasks"])
    assert sorted(tasks) == ["kept", "scatter", "shadowed", "work[i=1]", "work[i=2]"]
    assert run["tally"] == {"planned": 5, "finished": 5, "failed": 0}
    assert tasks["work[i=1]"]["params"] == {"size": 2}
    assert "origin" not in tasks["work[i=1]"]["inputs"][0]  # inside a directory that a job declared
    assert tasks["shadowed"]["outputs"][0]["uri"].endswith("/shadowed")
    assert all("digest" in task["outputs"][0] for task in tasks.values())
    assert project.verdict() == 0


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
