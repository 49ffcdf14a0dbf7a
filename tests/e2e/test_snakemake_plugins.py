"""Snakemake with other plugins: a scheduler that knows nothing of us and jobs that it loses, storage, a profile."""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.kitchen import kitchen
from tests.e2e.workflows import UNQUOTED, Project, simple_project

pytest.importorskip("snakemake_executor_plugin_cluster_generic", reason="pip install 'scichain-wf[test]'")

SNAKEFILE = """
localrules: near

rule all:
    input: "near", "second", "again", "killed", "unaware"

rule first:
    output: "first"
    group: "pair"
    shell: "echo lab-4711 > {output}"

rule second:
    input: "first"
    output: "second"
    group: "pair"
    shell: "cp {input} {output}"

rule again:
    input: "in.txt"
    output: "again"
    retries: 1
    shell: "test -e tried && cp {input} {output} || (touch tried; exit 4)"

rule killed:  # its Snakemake dies as by the kernel's out-of-memory killer or at the end of its wall time
    output: "killed"
    shell: "kill -9 $PPID"

rule unaware:  # its node has no scichain-wf
    output: "unaware"
    shell: "echo x > {output}"

rule near:
    input: "second"
    output: "near"
    shell: "cp {input} {output}"
"""
SUBMIT = """#!/bin/sh
test "$1" = unaware && unset SCICHAIN_RUN_ID && sed -i s/SCICHAIN_RUN_ID/UNKNOWN/g "$2"
setsid sh "$2" >"$2.log" 2>&1 </dev/null &
echo $!
"""


def on_cluster(project: Project) -> tuple[str, ...]:
    """Options that run jobs through a scheduler that knows nothing of us."""
    submit = f"sh {shlex.quote(str(project.write('submit.sh', SUBMIT)))} {{rule}}"
    options = ("--executor", "cluster-generic", "--cluster-generic-submit-cmd", submit)
    return (*options, "--jobs", "3", "--seconds-between-status-checks", "1")


def test_every_attempt_has_one_record_wherever_it_ran_and_what_has_none_is_named(tmp_path: Path) -> None:
    project = Project(tmp_path, SNAKEFILE)
    project.write("in.txt", "x\n")
    result = project.snakemake(*on_cluster(project), "--keep-going", "--logger-scichain-redact", "lab-*")
    assert result.returncode == 1, result.stderr
    [run] = project.runs()
    attempts = Counter((task["task"], task["attempt"], task.get("submission"), task["status"]) for task in run["tasks"])
    assert attempts == Counter(
        [
            ("first", 1, 1, "ok"),
            ("second", 1, 1, "ok"),
            ("again", 1, 1, "failed"),
            ("again", 2, 1, "ok"),
            ("near", 1, None, "ok"),
        ]
    )
    tasks = {(task["task"], task["attempt"]): task for task in run["tasks"]}
    assert "lab-4711" not in tasks["first", 1]["command"]  # the flag reached the inner process
    assert tasks["second", 1]["inputs"][0]["origin"] == "task:first"
    assert "origin" not in tasks["again", 2]["inputs"][0]  # another process may have made it
    assert tasks["near", 1]["inputs"][0]["origin"] == "task:second"
    assert (run["status"], run["tally"]) == ("failed", {"planned": 6, "finished": 5, "failed": 1})
    assert run["transactions"]["intent"] == 6
    assert run["missing"] == ["killed", "unaware"]
    assert "2 tasks ran and left no record of their end (killed, unaware)" in result.stderr
    audit = project.scichain("audit")
    assert "killed" in audit.stdout
    assert "unaware" in audit.stdout
    assert "SC-RUN-006" in audit.stdout
    assert project.verdict() == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)  # each job is a Snakemake of its own
@pytest.mark.skipif(" " in sys.executable, reason=UNQUOTED)
def test_every_kind_of_job_has_one_record_for_each_attempt_on_a_cluster(tmp_path: Path) -> None:
    project = kitchen(tmp_path / "kitchen", files=100)
    project.write("scichain.toml", "size_mtime_above_mib = 1024\n")
    project.variables["SNAKEMAKE_OUTPUT_CACHE"] = str(tmp_path)
    project.timeout_s = 900
    result = project.snakemake(*on_cluster(project), "--keep-going", "--cache", "cached")
    assert result.returncode == 0, result.stderr
    [run] = project.runs()
    attempts = Counter((task["task"], task["attempt"], task["status"]) for task in run["tasks"])
    assert len(attempts) == len(run["tasks"]) == 27
    assert [attempt for attempt in attempts if attempt[2] != "ok"] == [("work[i=1]", 1, "failed")]
    assert run["tally"] == {"planned": 26, "finished": 26, "failed": 0}
    assert project.verdict() == 0


HEARING = """
from dataclasses import dataclass
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    pass

class LogHandler(LogHandlerBase):
    writes_to_stream = writes_to_file = needs_rulegraph = False
    has_filter = has_formatter = True

    def __post_init__(self):
        pass

    def emit(self, record):
        with open("heard", "a") as file:
            print(getattr(record, "event", None), file=file)
"""


def test_another_logger_plugin_hears_everything_too(tmp_path: Path) -> None:
    project = simple_project(tmp_path)
    project.write("modules/snakemake_logger_plugin_hearing/__init__.py", HEARING)
    path = (str(tmp_path / "modules"), os.environ.get("PYTHONPATH", ""))
    project.variables["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    result = project.snakemake("--logger", "scichain", "hearing", logger=False)
    assert result.returncode == 0, result.stderr
    heard = Counter((tmp_path / "heard").read_text().split())
    assert (heard["job_info"], heard["job_finished"]) == (2, 2)
    [run] = project.runs()
    assert run["missing"] == []
    assert [task["command"] for task in run["tasks"]] == ["cp in.txt out.txt"]


STORED = """
rule all:
    input: "out.txt", "other.txt"

rule fetch:
    input: storage.http("{url}")
    output: "out.txt"
    shell: "cp {{input}} {{output}}"

rule other:
    input: "in.txt"
    output: "other.txt"
    shell: "cp {{input}} {{output}}"
"""


class _File(BaseHTTPRequestHandler):
    """One file, of yesterday."""

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(b"remote\n")

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 00:00:00 GMT")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_storage_is_recorded_under_its_own_name_and_settings_come_from_everywhere(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _File) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/remote.txt"
            project = Project(tmp_path, STORED.format(url=url))
            project.write("in.txt", "x\n")
            key = project.scichain("key", "author.key", "--json")
            project.write(
                "profile/config.yaml",
                "logger: scichain\nlogger-scichain-nodes: 2\nlogger-scichain-author: 0000-0002-1825-0097\n",
            )
            project.write("scichain.toml", "author_key = 'author.key'\nflush_timeout_s = 20\nhash_policy = 'off'\n")
            project.variables |= {"SCICHAIN_HASH_POLICY": "always", "SCICHAIN_SIZE_MTIME_PATTERNS": "in.*,abc"}
            result = project.snakemake(
                *("--profile", "profile", "--logger-scichain-size-mtime-patterns", "other.*,in.txt"),
                *("--logger-scichain-size-mtime-above-mib", "7", "--logger-scichain-strict"),
                *("--logger-scichain-ack", "committed"),
                logger=False,
            )
        finally:
            server.shutdown()
    assert result.returncode == 0, result.stderr
    [run] = project.runs()
    assert run["author"] == "https://orcid.org/0000-0002-1825-0097"
    assert run["signed_by"] == json.loads(key.stdout)["public_key"]
    assert run["missing"] == []
    assert run["settings"] == {
        "nodes": 2,
        "hash": "always",
        "size_mtime_patterns": ["other.*", "in.txt"],
        "size_mtime_above_mib": 7,
        "strict": True,
    }
    tasks = {task["task"]: task for task in run["tasks"]}
    [fetched] = tasks["fetch"]["inputs"]
    assert (fetched["uri"], fetched["state"], fetched["origin"]) == (url, "file", "source")
    assert fetched["digest"] == tasks["fetch"]["outputs"][0]["digest"]
    states = {item["policy"] for item in (*tasks["other"]["inputs"], *tasks["other"]["outputs"])}
    assert states == {"size-mtime"}
    assert project.verdict() == 0
