"""`status`, `watch`, `clean`, `audit`, `completion`, `ledger snapshot`: on small chains, in process."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import click
import pytest

from scichain_wf import limits
from scichain_wf.cli import standing
from scichain_wf.cli.app import app
from scichain_wf.client.burst import burst_directory, write_burst
from scichain_wf.client.outbox import OutboxWriter, create_outbox, outbox_directory
from scichain_wf.client.spool import list_spool, write_spool
from scichain_wf.model.bodies import Kind
from scichain_wf.model.transaction import RunId, Transaction
from scichain_wf.node import leftovers, shm
from scichain_wf.node.markers import Identity, State, first_line, second_line
from tests.builders import ChainBuilder
from tests.chains import DiskChain, small_chain
from tests.generators import generator
from tests.interrupts import interruptible
from tests.unit.cli.kit import Say

ENVIRONMENT = interruptible(os.environ) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TERM": "xterm"}
PROGRAM = [sys.executable, "-m", "scichain_wf"]
WAIT_S = 120.0


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shared memory of this test alone."""
    base = tmp_path / "shm"
    base.mkdir()
    for function in (leftovers.found, leftovers.clean):
        monkeypatch.setattr(function, "__defaults__", (base,))
    return base


def outbox(chain: DiskChain, base: Path, slot: int = 1) -> Path:
    directory = outbox_directory(chain.builder.chain, slot, base)
    create_outbox(directory)
    return directory


def intent(build: ChainBuilder, task: str, attempt: int) -> Transaction:
    about = {name: build.task(task).body[name] for name in ("engine", "name", "task", "node", "started_us")}
    return build.transaction(Kind.INTENT, about | {"attempt": attempt, "outputs": []})


def record(chain: DiskChain) -> bytes:
    return chain.builder.task("new", outputs=[chain.builder.artifact("new", b"1")]).encode()


# --- status and watch -----------------------------------------------------------------------------------
def test_status_says_what_is_there_and_what_waits(chain: DiskChain, say: Say, shared: Path) -> None:
    OutboxWriter(outbox(chain, shared)).append(record(chain))
    lock = shm.hold(outbox(chain, shared, 2))
    write_spool(chain.root / "spool", record(chain))
    write_spool(chain.root / "refused", b"what is this")
    said = say("status", "--json").json
    assert (said["links"], said["checkpoint"], said["service"], said["agents"]) == (6, 6, "", ["slot-2"])
    assert (said["waiting"], said["spooled"], said["refused"]) == (1, 1, 1)
    assert said["trust_root"] == f"sha256:{chain.builder.chain.hex()}"
    text = say("status").out
    assert "waiting     1 records in outboxes, 1 in the spool" in text
    assert "service     none on this host" in text
    assert "set aside" in text
    os.close(lock)


def test_status_doctor_and_clean_know_the_burst_buffer(
    chain: DiskChain, say: Say, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = chain.root.parent / "disk"
    base.mkdir()
    monkeypatch.setenv("SCICHAIN_BURST_BUFFER", str(base))
    monkeypatch.setattr(limits, "LEFTOVER_AGE_S", -1.0)
    assert say("status", "--json").json["burst"] == 0
    assert say("clean").out == "there is nothing to remove\n"
    write_burst(base, chain.builder.chain, record(chain))
    assert say("status", "--json").json["burst"] == 1
    assert "0 in the spool, 1 in the burst buffer of this host" in say("status").out
    assert "1 spooled" in say("watch", "--count", "1").out
    assert "1 records not on the chain yet" in say("clean").out
    [path] = list_spool(burst_directory(base, chain.builder.chain))
    path.unlink()
    assert "removed burst buffer" in say("clean").out
    assert f"{base} on " in say("doctor").out
    base.chmod(0o777)
    assert say("status", "--json").json["burst"] == 0
    said = say("doctor")
    assert (said.code, f"chmod +t {base}" in said.out) == (3, True)
    refused = say("clean")
    assert (refused.code, f"chmod +t {base}" in refused.err) == (3, True)


def test_status_of_a_chain_without_runs_or_checkpoint(tmp_path: Path, say: Say, shared: Path) -> None:
    DiskChain(tmp_path / "c").close()
    said = say("status", "--chain", str(tmp_path / "c"))
    assert "newest run  none yet" in said.out
    assert "checkpoint  none" in said.out


def test_status_changes_nothing_and_works_on_a_copy_that_may_not_be_written(
    chain: DiskChain, say: Say, shared: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in chain.root.rglob("*")}
    assert say("status").code == 0
    assert {path: path.stat().st_mtime_ns for path in chain.root.rglob("*")} == before


def marked(chain: DiskChain, who: Identity, state: State, number: int = 7) -> None:
    chain.layout.writers.mkdir(exist_ok=True)
    chain.layout.marker(number).write_bytes(first_line(who, 10.0) + second_line(state, 3))


def test_service_is_named_only_if_it_may_be_alive(chain: DiskChain) -> None:
    assert standing._service(chain.layout) == ""
    own = Identity.own()
    marked(chain, own, "holding")
    assert standing._service(chain.layout) == str(own)
    marked(chain, replace(own, host="elsewhere", boot="another"), "claimed")
    assert standing._service(chain.layout) == f"process {own.pid} on elsewhere, if it still runs there"
    marked(chain, replace(own, started=1), "holding")
    assert standing._service(chain.layout) == ""
    marked(chain, own, "ended")
    assert standing._service(chain.layout) == ""
    chain.layout.marker(8).write_text("nonsense")
    assert standing._service(chain.layout) == ""


def test_watch_prints_a_line_per_look_where_there_is_no_terminal(chain: DiskChain, say: Say, shared: Path) -> None:
    said = say("watch", "--interval", "0.1", "--count", "2")
    assert said.code == 0
    assert [line.partition("  ")[2] for line in said.out.splitlines()] == [
        "6 links, 0 waiting, 0 spooled, 0 set aside, 0 agents, no service"
    ] * 2
    looks = [json.loads(line) for line in say("watch", "--count", "1", "--json").out.splitlines()]
    assert [look["links"] for look in looks] == [6]


@pytest.mark.parametrize("interval", ["0", "-1", "nan", "inf", "x"])
def test_senseless_watch_is_refused(chain: DiskChain, say: Say, interval: str) -> None:
    assert say("watch", "--interval", interval, "--count", "1").code == 2
    assert say("watch", "--count", "0").code == 2


def test_interrupted_watch_ends_cleanly(chain: DiskChain) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "watch", "--interval", "60"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    assert process.stdout is not None
    assert b"6 links" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=WAIT_S)
    assert (process.returncode, error) == (0, b"")


def test_a_watch_hears_of_an_interrupt_that_came_just_before_it_slept(
    chain: DiskChain, say: Say, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python then sleeps first: here for as long as it was told to, if nobody ever ended it."""
    slept: list[float] = []

    def sleep(pause_s: float) -> None:
        slept.append(pause_s)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("scichain_wf.cli.watch.time.sleep", sleep)
    assert say("watch", "--interval", "60").code == 0
    assert max(slept) <= limits.INTERRUPT_S


def test_watch_on_a_terminal_is_a_table_that_changes(chain: DiskChain) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen([*PROGRAM, "watch", "--interval", "60"], stdout=slave, stderr=slave, env=ENVIRONMENT)
    os.close(slave)
    shown, deadline = b"", time.monotonic() + WAIT_S
    while b"newest run" not in shown:
        assert select.select([master], [], [], max(0.0, deadline - time.monotonic()))[0], shown
        shown += os.read(master, 65_536)
    process.send_signal(signal.SIGINT)
    assert process.wait(WAIT_S) == 0
    os.close(master)
    assert b"6, the newest of" in shown


# --- clean --------------------------------------------------------------------------------------------------
def test_clean_says_what_it_removes_and_what_it_keeps(
    chain: DiskChain, say: Say, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is nothing to remove" in say("clean").out
    monkeypatch.setattr(limits, "LEFTOVER_AGE_S", -1.0)
    empty, full = outbox(chain, shared), outbox(chain, shared, 2)
    OutboxWriter(full).append(record(chain))
    [file] = full.glob("*.outbox")
    file.rename(full / "1999999999-0.outbox")  # of a process that is gone
    said = say("clean", "--dry-run")
    assert said.out.splitlines()[-1] == "1 would be removed, 1 kept"
    assert empty.exists()
    said = say("clean", "--json")
    assert [(item["removed"], item["path"]) for item in said.json["directories"]] == [
        (True, str(empty)),
        (False, str(full)),
    ]
    assert not empty.exists()
    assert "1 records not on the chain yet" in say("clean").out
    assert say("clean", "--chain", "nowhere").code == 2


def test_clean_removes_an_outbox_whose_records_are_on_the_chain(
    chain: DiskChain, say: Say, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scichain_wf.cli.reading import open_view

    monkeypatch.setattr(limits, "LEFTOVER_AGE_S", -1.0)
    directory = outbox(chain, shared)
    with open_view(chain.root) as view:
        OutboxWriter(directory).append(view.transaction((3, 1)))
    [file] = directory.glob("*.outbox")
    file.rename(directory / "1999999999-0.outbox")
    monkeypatch.chdir("/")
    assert "name it: --chain DIR" in say("clean").out
    assert say("clean", "--chain", str(chain.root)).out.splitlines()[-1] == "1 removed, 0 kept"
    assert list(shared.iterdir()) == []


# --- audit --------------------------------------------------------------------------------------------------
def test_audit_of_a_sound_chain_verifies_it(chain: DiskChain, say: Say) -> None:
    said = say("audit")
    assert said.code == 0
    assert said.out.startswith("VERIFIED")
    [run] = say("runs", "list", "--json").json["runs"]
    assert say("audit", run["run"][:8]).code == 0
    assert say("audit", "ffff").code == 2
    assert say("audit", "--json").json["account"]["runs"][0]["lost"] == []


def test_audit_counts_findings_by_kind_and_fails_like_verify(chain: DiskChain, say: Say) -> None:
    for number in (3, 4):
        Path(f"out/{number}.txt").write_text("tampered")
    said = say("audit")
    assert said.code == 1 == say("verify").code
    rows = [line.split()[:3] for line in said.out.splitlines()]
    assert ["FINDING", "SEVERITY", "COUNT"] in rows
    assert any(row[1:] == ["error", "2"] for row in rows)
    assert say("audit", "--trust-root", "sha256:" + "0" * 64).code == 1


def test_audit_names_tasks_that_began_and_have_no_record(tmp_path: Path, say: Say) -> None:
    with small_chain(tmp_path / "c", tasks=3) as made:
        build = made.builder
        kept = build.transaction(Kind.TASK, build.task("kept").body | {"attempt": 2})
        made.block(1, [intent(build, "lost \x1b[2J", 1), intent(build, "kept", 2), kept])
        made.block(1, [intent(build, f"more {number}", 2) for number in range(25)])
        made.checkpoint()
    said = say("audit", "--chain", str(tmp_path / "c"))
    assert "Tasks began and have no record of how they ended: 26 tasks of run" in said.out
    assert "found   lost \\x1b[2J, more 0 (attempt 2), " in said.out
    assert "\x1b" not in said.out
    assert "6 more" in said.out
    [run] = say("audit", "--json", "--chain", str(tmp_path / "c")).json["account"]["runs"]
    lost = run["lost"]
    assert len(lost) == 26
    assert "more 7 (attempt 2)" in lost
    assert "kept (attempt 2)" not in lost


# --- completion and help ------------------------------------------------------------------------------------
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_calls_the_program_and_it_answers(shell: str, say: Say) -> None:
    said = say("completion", shell)
    assert said.code == 0
    assert f"_SCICHAIN_WF_COMPLETE={shell}_complete" in said.out
    assert say("completion", shell, "--json").json["script"] == said.out
    place = "s" if shell == "fish" else "2"
    asked = {"_SCICHAIN_WF_COMPLETE": f"{shell}_complete", "COMP_WORDS": "scichain-wf ledger s", "COMP_CWORD": place}
    answer = subprocess.run(PROGRAM, env=ENVIRONMENT | asked, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert {"show", "snapshot"} <= set(answer.stdout.replace(",", "\n").replace("\t", "\n").split("\n"))


def test_bash_takes_the_script(say: Say, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(say("completion", "bash").out)
    subprocess.run(["bash", "-n", script], check=True)


def test_unknown_shell_is_refused(say: Say) -> None:
    assert say("completion", "tcsh").code == 2


def commands(group: click.Group, *names: str) -> list[tuple[str, ...]]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        inner = group.get_command(context, name)
        found += [(*names, name), *(commands(inner, *names, name) if isinstance(inner, click.Group) else [])]
    return found


@pytest.mark.parametrize("names", commands(app), ids=" ".join)
def test_every_command_shows_an_example(names: tuple[str, ...], say: Say) -> None:
    said = say(*names, "--help")
    assert said.code == 0
    assert "scichain-wf " + " ".join(names[:1]) in said.out.partition("xample")[2]


def test_the_manuals_page_of_commands_is_current() -> None:
    made = generator("generate_cli")
    assert made.PAGE.read_text() == made.page(), "run `python docs/generate_cli.py`"


# --- output stays readable ----------------------------------------------------------------------------------
def test_long_lists_are_cut_as_text_and_whole_as_json(tmp_path: Path, say: Say) -> None:
    with small_chain(tmp_path / "c", tasks=2) as made:
        build = made.builder
        made.block(1, [build.task(f"more {number}") for number in range(105)])
        runs = [RunId(build.key()) for _ in range(104)]
        made.block(1, [build.transaction(Kind.NOTE, {"text": "x"}, run) for run in runs])
    at = ["--chain", str(tmp_path / "c")]
    listed = say("runs", "list", *at)
    assert len(listed.out.splitlines()) == 102
    assert listed.out.endswith("and 5 older runs (--json has them all)\n")
    every = say("runs", "list", "--json", *at).json["runs"]
    assert len(every) == 105
    [busy] = [run["run"] for run in every if run["tasks"]]
    shown = say("runs", "show", busy, *at)
    assert shown.out.count("attempt 1") == 100
    assert shown.out.endswith("and 7 more tasks (--json has them all)\n")
    assert len(say("runs", "show", busy, "--json", *at).json["tasks"]) == 107
