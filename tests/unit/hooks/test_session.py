"""A run from its start to its closing line, with a stand-in for the service."""

from __future__ import annotations

import getpass
import io
import os
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from scichain_wf import keystore
from scichain_wf.client.outbox import OutboxReader, create_outbox, outbox_directory
from scichain_wf.client.spool import list_spool
from scichain_wf.errors import LedgerCorrupt, LedgerError, PeerError, UsageError
from scichain_wf.hooks import join
from scichain_wf.hooks.closing import Progress, not_recorded_line, problem_lines, shown
from scichain_wf.hooks.recorder import Delivery
from scichain_wf.hooks.records import Engine
from scichain_wf.hooks.session import RunPlan, RunSession
from scichain_wf.model import manifest
from scichain_wf.model.bodies import Kind
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.transaction import Transaction

CHAIN = bytes(range(32))


@dataclass
class FakeSummary:
    transactions: dict[str, int] = field(default_factory=lambda: {"quorum": 18, "poet": 1, "spool": 1})
    tasks: int = 9
    voters: list[str] = field(default_factory=lambda: ["slot 1 (h\x1b[1m)", "slot 2 (h)"])
    head_height: int = 7
    head: bytes = b"\x01" * 32
    trust_root: bytes = CHAIN


class FakeService:
    def __init__(self, base: Path) -> None:
        self.chain = CHAIN
        self.outboxes = [outbox_directory(CHAIN, 1, base)]
        create_outbox(self.outboxes[0])
        self.spool = base / "chain" / "spool"
        self.stopped = 0
        self.timeout_s = 0.0
        self.flush_error: BaseException | None = None
        self.stop_error: BaseException | None = None
        self.is_lost = self._ended = False

    def attended(self) -> FakeService:
        self._ended = False
        return self

    def flush(self, _run: bytes, *, timeout_s: float, progress: Callable[[int, int], None]) -> FakeSummary:
        if self._ended:
            raise UsageError("the service was stopped")
        self.timeout_s = timeout_s
        progress(1, 2)
        if self.flush_error:
            raise self.flush_error
        return FakeSummary()

    def stop(self, *, timeout_s: float = 0.0) -> None:
        self.stop_timeout_s = timeout_s
        self.stopped += 1
        self._ended = True
        if self.stop_error:
            raise self.stop_error


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService(tmp_path)
    install(monkeypatch, lambda *_: fake.attended())
    return fake


def install(monkeypatch: pytest.MonkeyPatch, start: Callable[..., object]) -> None:
    from scichain_wf import client

    module = types.ModuleType("scichain_wf.client.service")
    module.__dict__["attend"] = lambda *arguments, **_: start(*arguments)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(client, "service", module, raising=False)


def plan(tmp_path: Path) -> RunPlan:
    (tmp_path / "Snakefile").write_text("rule all:\n")
    return RunPlan(
        Engine("snakemake", "9"),
        tmp_path,
        tmp_path / "chain",
        workflow="Snakefile",
        command=["snakemake", "-c2"],
        settings={"strict": False},
        launched_from=Path("/srv"),
        flush_timeout_s=7.0,
    )


def recorded(service: FakeService) -> list[Transaction]:
    return [Transaction.decode(frame.data) for frame in OutboxReader(service.outboxes[0]).read()]


def test_author_is_named_at_the_beginning_and_signs_the_end(tmp_path: Path, service: FakeService) -> None:
    key = keystore.generate()
    keystore.save(tmp_path / "author.key", key)
    signed = replace(plan(tmp_path), author="Ada Lovelace", author_key=tmp_path / "author.key")
    session = RunSession.start(signed, may_spool=True)
    session.finish("ok", None)
    begin, end = recorded(service)
    assert begin.body["author"] == "Ada Lovelace"
    found = manifest.check(end.chain, end.run, end.body)
    assert found is not None
    assert found.raw == key.public.raw


def test_author_key_that_cannot_be_used_is_a_problem_and_the_run_is_recorded(
    tmp_path: Path, service: FakeService
) -> None:
    session = RunSession.start(replace(plan(tmp_path), author_key=tmp_path / "none"), may_spool=True)
    lines = session.finish("ok", None)
    assert "the run's end is not signed: there is no key file" in lines[0]
    assert "author_signature" not in recorded(service)[-1].body
    assert not session.complete


def test_tasks_that_the_engine_ran_and_nobody_recorded_are_named(tmp_path: Path, service: FakeService) -> None:
    session = RunSession.start(plan(tmp_path), may_spool=True)
    lines = session.finish("ok", None, expected={f"t{n}" for n in range(7)})
    assert "7 tasks ran and left no record of their end (t0, t1, t2, t3, t4 and 2 more)" in lines[0]
    assert recorded(service)[-1].body["missing"] == [f"t{n}" for n in range(7)]
    assert not session.complete


def test_run_begins_with_roots_workflow_and_command_and_ends_with_its_manifest(
    tmp_path: Path, service: FakeService
) -> None:
    session = RunSession.start(plan(tmp_path), may_spool=True)
    session.recorder.emit(Kind.NOTE, {"text": "x"})
    lines = session.finish("ok", {"planned": 1, "finished": 1, "failed": 0})
    begin, _, end = recorded(service)
    root = session.naming.roots[0]
    assert begin.body["roots"] == [
        {"id": root.id, "host": root.host, "path": str(tmp_path), "mount": root.mount.decode(), "from_chain": ".."}
    ]
    assert begin.body["workflow"]["uri"] == f"work:{root.id}/Snakefile"  # type: ignore[index,call-overload]
    assert begin.body["settings"] == {"nodes": 1, "hash": "cached", "strict": False}
    assert end.body["counts"] == {"task": 0, "intent": 0}
    assert end.body["tally"] == {"planned": 1, "finished": 1, "failed": 0}
    assert service.stopped == 1
    assert 6.0 < service.stop_timeout_s < service.timeout_s < 7.0  # one time for all
    run = session.recorder.run.hex()[:12]
    counts = "9 tasks, 20 transactions (18 quorum, 1 POET, 1 spool), votes by slot 1 (h\\x1b[1m), slot 2 (h)"
    anchors = "trust root sha256:000102030405…; head 7 sha256:010101010101…"
    check = f"check with: scichain-wf verify --chain {tmp_path / 'chain'}"
    assert lines == [f"scichain: run {run}…: {counts}; {anchors}; {check}"]


def test_verify_command_is_short_where_the_default_finds_the_chain(
    tmp_path: Path, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    session = RunSession.start(RunPlan(Engine("e", "1"), tmp_path, Path.cwd() / ".scichain"), may_spool=True)
    assert session.finish("ok", None)[-1].endswith("check with: scichain-wf verify")
    assert session.complete
    below = RunPlan(Engine("e", "1"), tmp_path, tmp_path / "my project" / ".scichain")
    assert below.verify_command == "scichain-wf verify --chain 'my project/.scichain'"


@pytest.mark.parametrize("error", [PeerError("storage died; records wait in the outbox"), LedgerError("disk full")])
def test_flush_that_fails_says_where_the_records_wait(tmp_path: Path, service: FakeService, error: Exception) -> None:
    service.flush_error = error
    service.stop_error = PeerError("does not stop")
    session = RunSession.start(plan(tmp_path), may_spool=True)
    lines = session.finish("ok", None)
    assert not session.complete
    assert lines[0] == f"scichain: provenance is incomplete: {error}"
    assert len(lines) == 1
    assert service.stopped == 1


def test_service_that_is_left_in_disorder_is_told(tmp_path: Path, service: FakeService) -> None:
    service.stop_error = PeerError("does not stop")
    session = RunSession.start(plan(tmp_path), may_spool=True)
    lines = session.finish("ok", None)
    assert not session.complete
    assert lines[0] == "scichain: provenance is incomplete: does not stop"


def test_service_that_is_lost_is_replaced_at_the_end(
    tmp_path: Path, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec: LOSS-1."""
    session = RunSession.start(plan(tmp_path), may_spool=True)
    service.is_lost, service.flush_error = True, PeerError("it was killed")
    other = FakeService(tmp_path)
    install(monkeypatch, lambda *_: other)
    lines = session.finish("ok", None, alone=False)
    assert session.complete, lines
    assert (service.stopped, other.stopped) == (1, 1)


@pytest.mark.parametrize("alone", [True, False])
def test_a_service_is_replaced_within_the_time_that_the_end_has(
    tmp_path: Path, service: FakeService, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    """Spec: HOOK-1. One deadline for all of it, however long a start might take."""
    session = RunSession.start(plan(tmp_path), may_spool=True)
    service.is_lost, service.flush_error = True, PeerError("it was killed")
    asked: list[float] = []

    def attend(*_: object, deadline: float, **__: object) -> object:
        asked.append(deadline)
        raise PeerError("no time was left")

    monkeypatch.setattr("scichain_wf.client.service.attend", attend)
    begun = time.monotonic()
    lines = session.finish("ok", None, alone=alone)
    assert [deadline - begun for deadline in asked] == [pytest.approx(7.0, abs=1.0)]
    assert service.stop_timeout_s <= 7.0
    assert lines == ["scichain: provenance is incomplete: no time was left"]


def test_tasks_that_cannot_be_counted_are_a_problem_and_nothing_else(tmp_path: Path, service: FakeService) -> None:
    """Spec: HOOK-1."""
    session = RunSession.start(plan(tmp_path), may_spool=True)
    lines = session.finish("ok", None, alone=False, expected=["a"])
    assert "whether every task left a record cannot be told: " in lines[0]
    assert [found.kind for found in recorded(service)][-1] is Kind.RUN_END
    assert service.stopped == 1


def test_run_that_joins_a_service_with_fewer_agents_says_so(tmp_path: Path, service: FakeService) -> None:
    session = RunSession.start(replace(plan(tmp_path), nodes=3), may_spool=True)
    assert recorded(service)[0].body["settings"]["nodes"] == 1  # type: ignore[index,call-overload]
    assert "has 1 agent; the 3 that were asked for were not made" in session.finish("ok", None)[0]


def test_run_of_several_processes_counts_what_arrived(tmp_path: Path, service: FakeService) -> None:
    session = RunSession.start(plan(tmp_path), may_spool=True)
    session.finish("ok", None, alone=False)
    [end] = [found for found in recorded(service) if found.kind is Kind.RUN_END]
    assert end.body["counts"] == {"task": 9, "intent": 10}
    service.flush_error = PeerError("gone")
    session = RunSession.start(plan(tmp_path), may_spool=True)
    assert len(session.finish("ok", None, alone=False)) == 1
    ends = [found.body["counts"] for found in recorded(service) if found.kind is Kind.RUN_END]
    assert {"task": 0, "intent": 0} in ends


def test_interrupted_flush_leaves_at_once(tmp_path: Path, service: FakeService) -> None:
    service.flush_error = KeyboardInterrupt()
    session = RunSession.start(plan(tmp_path), may_spool=True)
    with pytest.raises(KeyboardInterrupt):
        session.finish("interrupted", None)
    assert service.stopped == 0


def test_start_that_fails_raises_what_the_service_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> object:
        raise LedgerError("no room")

    install(monkeypatch, refuse)
    for may_spool in (True, False):  # there is no chain yet, so no spool either
        with pytest.raises(LedgerError, match="no room"):
            RunSession.start(plan(tmp_path), may_spool=may_spool)


def test_spool_of_another_user_is_none_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left there could not be written, or would not be read."""
    chain_dir = tmp_path / "chain"
    chain_dir.mkdir()
    (chain_dir / "trust-root").write_text(f"scichain-wf-trust-root-v1 sha256:{CHAIN.hex()}\n")
    if os.geteuid() == 0:
        os.chown(chain_dir, 65534, -1)
    else:
        chain_dir.chmod(0o500)

    def refused(*_: object) -> object:
        raise LedgerError("cannot be used")

    install(monkeypatch, refused)
    with pytest.raises(LedgerError, match="cannot be used"):
        RunSession.start(plan(tmp_path), may_spool=True)
    assert [path.name for path in chain_dir.iterdir()] == ["trust-root"]
    chain_dir.chmod(0o700)


def test_chain_in_use_takes_records_through_its_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain_dir = tmp_path / "chain"
    chain_dir.mkdir()
    (chain_dir / "trust-root").write_text(f"scichain-wf-trust-root-v1 sha256:{CHAIN.hex()}\n")

    def busy(*_: object) -> object:
        raise LedgerError("in use by process 42")

    install(monkeypatch, busy)
    session = RunSession.start(plan(tmp_path), may_spool=True)
    [line] = session.finish("ok", None)
    assert not session.complete
    assert len(list_spool(chain_dir / "spool")) == 2
    assert "2 records waiting" in line
    assert "in use by process 42" in line
    [line] = RunSession.start(plan(tmp_path), may_spool=True).finish("ok", None, alone=False)
    assert "…: records waiting in" in line  # how many the other processes wrote is not known here
    with pytest.raises(LedgerError, match="in use"):
        RunSession.start(plan(tmp_path), may_spool=False)

    def corrupt(*_: object) -> object:
        raise LedgerCorrupt("altered")

    install(monkeypatch, corrupt)
    with pytest.raises(LedgerCorrupt):
        RunSession.start(plan(tmp_path), may_spool=True)


def test_workflow_file_that_cannot_be_named_is_left_out(tmp_path: Path, service: FakeService) -> None:
    odd = RunPlan(Engine("e", "1"), tmp_path, tmp_path / "chain", workflow="nul\0")
    session = RunSession.start(odd, may_spool=True)
    assert "workflow" not in recorded(service)[0].body
    assert session.recorder.problems


def test_inner_process_joins_by_chain_directory_and_run_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain_dir = tmp_path / "chain"
    chain_dir.mkdir()
    (chain_dir / "trust-root").write_text(f"scichain-wf-trust-root-v1 sha256:{CHAIN.hex()}\n")
    monkeypatch.setattr(join, "outbox_directory", lambda chain, slot: outbox_directory(chain, slot, tmp_path))
    recorder, artifacts, user = join.join_run(bytes(16), chain_dir, tmp_path)
    assert recorder.emit(Kind.NOTE, {"text": "x"}) is Delivery.SPOOL  # no agent on this host
    for slot in (1, 10, 2):
        create_outbox(outbox_directory(CHAIN, slot, tmp_path))
    recorder, artifacts, user = join.join_run(bytes(16), chain_dir, tmp_path)
    assert recorder.emit(Kind.NOTE, {"text": "x"}) is Delivery.OUTBOX
    assert artifacts.naming.uri("f").startswith("work:")
    assert user


@pytest.mark.parametrize("content", [None, "", "scichain-wf-trust-root-v1 sha256:12\n", "x" * 1000])
def test_what_is_no_chain_cannot_be_joined(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "trust-root").write_text(content)
    with pytest.raises(LedgerError, match="trust-root"):
        join.join_run(bytes(16), tmp_path, tmp_path)


def test_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", unknown)
    assert join.user_name().isdigit()


def test_progress_is_for_terminals_only() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, pipe = Terminal(), io.StringIO()
    for output in (terminal, pipe):
        progress = Progress(output)
        progress.done()
        progress(3, 1)
        progress.done()
    assert "committed 3 of 4 records" in terminal.getvalue()
    assert pipe.getvalue() == ""


def test_lines_show_control_characters_escaped() -> None:
    body: JsonObject = {}
    assert not body
    assert shown("a\x1b[2Jb\nc\udc80") == "a\\x1b[2Jb\\nc\\udc80"
    assert "\n" not in not_recorded_line("a\nb")
    assert len(problem_lines([str(n) for n in range(9)])) == 6
