"""The audit: findings that only whole runs show, each with what almost triggers it, and what the records say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from scichain_wf import audit
from scichain_wf.audit import gather as gathering
from scichain_wf.ledger import rawread
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.walk import outline
from scichain_wf.model.bodies import Kind
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.link import Annotation, Mark
from scichain_wf.model.transaction import RunId, Transaction
from tests.builders import ChainBuilder
from tests.chains import DiskChain, small_chain, write_files
from tests.unit.audit.support import audited, found, started

Make = Callable[[ChainBuilder], Transaction]


def of_records(tmp_path: Path, *records: Make) -> dict[str, audit.Finding]:
    """Findings of a chain whose one run has these records after its start, all in one block of slot 1."""
    with started(tmp_path / ".scichain") as chain:
        chain.block(1, [make(chain.builder) for make in records])
        return found(audited(chain))


def intent(name: str, attempt: int = 1) -> Make:
    def make(build: ChainBuilder) -> Transaction:
        body: JsonObject = {
            "engine": {"name": "test", "version": "1"}, "name": name, "task": name, "attempt": attempt, "outputs": [],
            "node": "node-1", "started_us": build.tick(),
        }
        return build.transaction(Kind.INTENT, body)

    return make


def task(
    name: str,
    inputs: Mapping[str, bytes] | None = None,
    outputs: Mapping[str, bytes | None] | None = None,
    **more: object,
) -> Make:
    def make(build: ChainBuilder) -> Transaction:
        read = [build.artifact(uri, content) for uri, content in (inputs or {}).items()]
        made = [build.artifact(uri, content) for uri, content in (outputs or {}).items()]
        return build.task(name, read, made, **more)

    return make


def end(tasks: int, intents: int = 0, finished: int | None = None, missing: Sequence[str] = ()) -> Make:
    def make(build: ChainBuilder) -> Transaction:
        made = build.run_end(tasks, intents)
        if finished is None:
            return made
        tally: JsonObject = {"planned": finished, "finished": finished, "failed": 0}
        named: JsonObject = {"missing": [*missing]} if missing else {}
        return build.transaction(Kind.RUN_END, {**made.body, "tally": tally, **named})

    return make


def test_clean_run_is_told_and_only_informs(tmp_path: Path) -> None:
    chain = small_chain(tmp_path / "work" / ".scichain", tasks=6)
    write_files(chain)
    result = audited(chain)
    assert result.verdict is audit.Verdict.VERIFIED
    account = result.account
    assert account is not None
    [run] = account.runs
    assert (run.status, run.kinds["task"], run.lost, account.tasks_total) == ("ok", 6, [], 6)
    assert [task.task for task in account.tasks] == [f"rule n={n}" for n in range(6)]
    assert {artifact.disk for artifact in account.artifacts} == {"source", "match"}
    assert [(group.name, group.tasks) for group in account.groups] == [("rule", 6)]
    assert [tuple(flow) for flow in account.flows] == [(0, 0, 5)]
    assert [(slot.slot, slot.credit, slot.poet) for slot in account.slots] == [(1, 1, 0), (2, 1, 1), (3, 1, 0)]
    assert [block.mode for block in account.blocks].count("epoch") == 3
    assert {(a.maker, a.judge, a.valid) for a in account.agreement} == {(1, 1, 1), (1, 2, 1), (3, 1, 1), (3, 2, 1)}
    assert account.overhead() is not None


def test_what_is_made_from_a_changed_file_is_named(tmp_path: Path) -> None:
    chain = small_chain(tmp_path / "work" / ".scichain", tasks=6)
    write_files(chain)
    (tmp_path / "work" / "out" / "3.txt").write_text("changed")
    finding = found(audited(chain))["SC-FILE-001"]
    assert finding.blast_count == 2
    assert [uri.rpartition("/")[2] for uri in finding.blast] == ["4.txt", "5.txt"]


def test_what_a_contested_task_made_is_named_with_what_follows(tmp_path: Path) -> None:
    with started(tmp_path / ".scichain") as chain:
        build = chain.builder
        made = [task("a", {}, {"x": b"1"}), task("b", {"x": b"2"}, {"y": b"3"}), task("c", {"y": b"3"}, {"z": b"4"})]
        block = build.block(1, [make(build) for make in made])
        chain.append(build.poet(block, (Annotation(1, Mark.CONTESTED, ("because",)),)))
        result = audited(chain)
    assert found(result)["SC-TRACE-001"].blast_count == 2
    assert result.account is not None
    assert [t.mark for t in result.account.tasks] == ["", "contested", ""]


def test_tasks_beyond_the_limit_are_counted(tmp_path: Path) -> None:
    chain = small_chain(tmp_path / ".scichain", tasks=6)
    chain.close()
    try:
        account, _ = gathering.gather(outline(chain.layout.live_ledger()), None, limit=4)
    finally:
        rawread.release()
    assert (len(account.tasks), account.tasks_total) == (4, 6)


@pytest.mark.parametrize(
    ("records", "number", "expected"),
    [
        ([intent("a"), end(0, 1)], "SC-RUN-006", True),
        ([intent("a"), task("a"), end(1, 1)], "SC-RUN-006", False),
        ([task("a"), intent("a"), end(1, 1)], "SC-RUN-006", False),  # two agents: either record may come first
        ([intent("a"), intent("a", 2), task("a"), end(1, 2)], "SC-RUN-006", True),
        ([task("a"), end(1, finished=2)], "SC-RUN-007", True),
        ([task("a"), task("b", status="failed"), end(2, finished=2)], "SC-RUN-007", True),
        ([task("a"), task("b"), end(2, finished=1)], "SC-RUN-007", False),  # a command inside a task is one more
        ([task("a"), end(2)], "SC-RUN-004", True),
        ([task("a"), end(1)], "SC-RUN-004", False),
        ([task("a")], "SC-RUN-003", True),
        ([task("a"), end(1)], "SC-RUN-003", False),
        ([end(0), task("a")], "SC-RUN-005", True),
        ([task("a"), end(1)], "SC-RUN-005", False),
        ([task("a", node="elsewhere")], "SC-RUN-008", True),
        ([task("a", node="node-1")], "SC-RUN-008", False),
        ([task("a", {}, {"x": b"1"}), task("b", {}, {"x": b"2"})], "SC-TRACE-006", True),
        ([task("a", {}, {"x": b"1"}), task("b", {}, {"x": None})], "SC-TRACE-006", True),  # hides what a made
        ([task("a", {}, {"x": b"1"}), task("b", {}, {"x": b"1"})], "SC-TRACE-006", False),
        ([task("a", {}, {"x": b"1"}), task("a", {}, {"x": b"2"}, attempt=2)], "SC-TRACE-006", False),
        ([task("a", {}, {"x": b"1"}), task("b", {"x": b"1"}, {"x": b"2"})], "SC-TRACE-006", False),  # in place
        ([task("a", {}, {"x": None}), task("b", {}, {"x": b"2"})], "SC-TRACE-006", False),
    ],
)
def test_finding_of_a_run_and_what_almost_is_one(
    tmp_path: Path, records: list[Make], number: str, expected: bool
) -> None:
    assert (number in of_records(tmp_path, *records)) is expected


def test_tasks_that_the_engine_misses_are_named(tmp_path: Path) -> None:
    names = [f"t{number}" for number in range(10, 32)]
    finding = of_records(tmp_path, task("a"), end(1, finished=23, missing=names))["SC-RUN-007"]
    assert f"1, none of {', '.join(names[:20])} and 2 more" in str(finding)


def test_run_without_a_beginning_is_named(tmp_path: Path) -> None:
    with DiskChain(tmp_path / ".scichain") as chain:
        chain.block(1, [chain.builder.task("a")])
        assert "SC-RUN-002" in found(audited(chain))


def test_same_output_in_another_run_is_a_rerun(tmp_path: Path) -> None:
    with started(tmp_path / ".scichain") as chain:
        build = chain.builder
        chain.block(1, [task("a", {}, {"x": b"1"})(build), build.run_end(1)])
        build.run = RunId(build.key())
        chain.block(1, [build.run_start(path=str(tmp_path)), task("b", {}, {"x": b"2"})(build), build.run_end(1)])
        assert "SC-TRACE-006" not in found(audited(chain))


@pytest.mark.parametrize(
    ("policy", "named"), [({"policy": "size-mtime"}, True), ({"policy": "full"}, False), ({}, False)]
)
def test_outputs_that_nobody_read_are_a_weakness(tmp_path: Path, policy: JsonObject, named: bool) -> None:
    def make(build: ChainBuilder) -> Transaction:
        return build.task("a", [], [build.artifact("x") | policy])

    assert ("SC-CONF-004" in of_records(tmp_path, make)) is named


def test_runs_without_an_authors_key_are_counted(tmp_path: Path) -> None:
    assert found_subject(of_records(tmp_path / "none", end(0)), "SC-CONF-005") == "1 of 1 runs"

    def signed(build: ChainBuilder) -> Transaction:
        signature: JsonObject = {"key": f"ed25519:{'00' * 32}", "signature": "00" * 64}
        return build.transaction(Kind.RUN_END, {**build.run_end(0).body, "author_signature": signature})

    assert "SC-CONF-005" not in of_records(tmp_path / "one", signed)


def found_subject(findings: dict[str, audit.Finding], number: str) -> str:
    return findings[number].subject


# --- files ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "newer", "code"),
    [(b"tampered", {}, 3), (b"1", {}, 0), (b"tampered", {"hashed": b"tampered"}, 0)],
    ids=["hidden", "as the older record says", "recorded with its content"],
)
def test_newer_record_without_content_hides_nothing(
    tmp_path: Path, content: bytes, newer: dict[str, bytes], code: int
) -> None:
    (tmp_path / "x").write_bytes(content)
    with started(tmp_path / ".scichain") as chain:
        build = chain.builder
        chain.block(1, [task("a", {}, {"x": b"1"})(build), build.run_end(1)])
        build.run = RunId(build.key())
        start = build.run_start(path=str(tmp_path), from_chain="..")
        chain.block(1, [start, task("b", {}, {"x": newer.get("hashed")})(build), build.run_end(1)])
        result = audited(chain)
    assert result.exit_code == code
    assert ("SC-FILE-012" in found(result)) is (code == 3)


# --- one run, and two -------------------------------------------------------------------------------
def two_runs(root: Path) -> tuple[DiskChain, str, str]:
    """The same four tasks twice: `same`, another input, another parameter, and one that is not deterministic."""
    chain = started(root / ".scichain")
    build, runs = chain.builder, list[str]()
    for content, parameter, chance in ((b"1", 1, b"a"), (b"2", 2, b"b")):
        if runs:
            build.run = RunId(build.key())
            chain.block(1, [build.run_start(path=str(root), from_chain="..")])
        records = [
            task("source", {}, {"in": content}, params=content.decode()),
            task("same", {"fixed": b"f"}, {"same": b"s"}),
            task("other", {"in": content}, {"other": content}),
            task("random", {"fixed": b"f"}, {"random": chance}),
            task(f"only {parameter}"),
        ]
        chain.block(1, [make(build) for make in records] + [build.run_end(5)])
        runs.append(build.run.hex())
    return chain, runs[0], runs[1]


def test_difference_of_two_runs(tmp_path: Path) -> None:
    chain, before, after = two_runs(tmp_path)
    result = audited(chain, run=after, baseline=before)
    assert result.difference is not None
    assert result.difference.same == 1
    [unstable] = result.difference.unstable
    assert (unstable.task, unstable.changed, [uri[-6:] for uri in unstable.outputs]) == ("random", [], ["random"])
    changed = {item.task: item.changed for item in result.difference.changed}
    assert changed == {"source": ["params"], "other": ["inputs"]}
    assert (result.difference.only_before, result.difference.only_after) == (["only 1"], ["only 2"])
    assert result.account is not None
    assert [run.run for run in result.account.runs] == [after]
    assert result.account.tasks_total == 5


def test_values_are_compared_whatever_run_they_belong_to(tmp_path: Path) -> None:
    with started(tmp_path / ".scichain") as chain:
        build, runs = chain.builder, []
        for _ in range(2):
            value = build.artifact("x", b"1") | {"uri": f"value:{build.run.hex()}/a/1"}
            chain.block(1, [build.task("a", [], [value]), build.run_end(1)])
            runs.append(build.run.hex())
            build.run = RunId(build.key())
        result = audited(chain, run=runs[1], baseline=runs[0])
    assert result.difference is not None
    assert (result.difference.same, result.difference.changed) == (1, [])
    assert result.account is not None
    assert result.account.artifacts[0].disk == "value"


def test_inputs_from_another_run_are_told_from_sources(tmp_path: Path) -> None:
    with started(tmp_path / ".scichain") as chain:
        build = chain.builder
        chain.block(1, [task("a", {}, {"x": b"1"})(build), build.run_end(1)])
        build.run = RunId(build.key())
        start = build.run_start(path=str(tmp_path))
        chain.block(1, [start, task("b", {"x": b"1", "s": b"2"})(build), build.run_end(1)])
        result = audited(chain, run=build.run)
    assert result.account is not None
    assert [artifact.disk for artifact in result.account.artifacts] == ["elsewhere", "source"]


# --- bad input --------------------------------------------------------------------------------------
def test_chain_that_cannot_be_read_has_no_account_and_is_no_traceback(tmp_path: Path) -> None:
    chain = small_chain(tmp_path / ".scichain", tasks=3)
    chain.close()
    data = chain.layout.live_ledger() / "data.mdb"
    data.write_bytes(data.read_bytes()[:100])
    result = audit.audit(chain.root)
    assert (result.exit_code, result.account) == (1, None)


def test_records_that_cannot_be_gathered_are_a_finding(
    tmp_path: Path, children: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = small_chain(tmp_path / ".scichain", tasks=3)
    chain.close()
    monkeypatch.setattr(audit.engine, "gather", abort)
    result = audit.audit(chain.root, jobs=1)
    assert result.account is None
    assert "SC-CHAIN-001" in found(result)
    assert ChainLayout(chain.root).live_ledger().is_dir()


def abort(*_: object) -> None:
    """What a broken file does to its reader."""
    import os

    os.abort()
