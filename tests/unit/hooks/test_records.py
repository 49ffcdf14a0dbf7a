"""Bodies fit their schema, whatever the workflow is like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.hooks.records import (
    Engine,
    TaskFacts,
    intent_body,
    run_end_body,
    run_start_body,
    shrunk,
    task_body,
    task_key,
)
from scichain_wf.model.bodies import INTENT, RUN_END, RUN_START, TASK, TaskStatus
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.schema import check_record

ENGINE = Engine("snakemake", "9.27.1")
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0") | st.characters(categories=["Cs"]), max_size=50)


def artifact(number: int) -> JsonObject:
    return {"uri": f"work:{'0' * 16}/f{number}", "role": "0", "state": "absent"}


def facts(**more: object) -> TaskFacts:
    made = TaskFacts("rule", "rule[a=1]", started_us=5, ended_us=9)
    for field, value in more.items():
        setattr(made, field, value)
    return made


def test_minimal_task_has_no_invented_fields() -> None:
    body = task_body(ENGINE, facts(), "node1", "me")
    check_record(TASK, body, "body")
    assert not {"params", "command", "code", "environment", "exit_status", "error", "redacted", "truncated"} & set(body)


def test_full_task_fits_its_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    body = task_body(
        ENGINE,
        facts(
            inputs=[artifact(1)],
            outputs=[artifact(2)],
            wildcards={"s": "a"},
            params={"rate": 0.5},
            code_kind="shell",
            code_digest=bytes(32),
            command="sort x --password y",
            conda_digest=bytes(32),
            container="docker://x",
            modules=["gcc"],
            exit_status=-9,
            error_class="CalledProcessError",
            error_message="m" * 100_000,
            threads=4,
            status=TaskStatus.FAILED,
        ),
        "node1",
        "me",
    )
    check_record(TASK, body, "body")
    assert body["scheduler"] == {"name": "slurm", "job": "42"}
    assert body["redacted"] == ["command"]
    assert body["truncated"] == ["error"]


def test_exit_status_outside_the_record_is_left_out() -> None:
    assert "exit_status" not in task_body(ENGINE, facts(exit_status=70_000), "n", "u")


def test_a_clock_that_went_back_gives_no_negative_duration() -> None:
    assert task_body(ENGINE, facts(ended_us=1), "n", "u")["ended_us"] == 5


def test_too_many_artifacts_are_cut_inputs_first_and_said_so() -> None:
    body = task_body(
        ENGINE, facts(inputs=[artifact(n) for n in range(5_000)], outputs=[artifact(n) for n in range(10)]), "n", "u"
    )
    check_record(TASK, body, "body")
    assert len(body["outputs"]) == 10  # type: ignore[arg-type]
    assert len(body["inputs"]) == limits.ARTIFACTS_PER_TASK_MAX - 10  # type: ignore[arg-type]
    assert body["truncated"] == ["inputs"]


def test_shrinking_drops_free_fields_then_halves_artifacts_until_nothing_is_left() -> None:
    body: JsonObject | None = task_body(
        ENGINE, facts(params=[1], command="c", inputs=[artifact(n) for n in range(4)]), "n", "u"
    )
    seen = []
    while body is not None:
        check_record(TASK, body, "body")
        seen.append((len(body["inputs"]), body.get("truncated")))  # type: ignore[arg-type]
        body = shrunk(body)
    assert seen == [
        (4, None),
        (4, ["command", "params"]),
        (2, ["command", "inputs", "params"]),
        (1, ["command", "inputs", "params"]),
    ]


def test_intent_and_run_bodies_fit_their_schemas() -> None:
    uris = [f"work:{'0' * 16}/f{n}" for n in range(limits.ARTIFACTS_PER_TASK_MAX + 1)]
    check_record(INTENT, intent_body(ENGINE, "r", "r", 1, uris, "n", 1), "body")
    root: JsonObject = {"id": "0" * 16, "host": "h", "path": "/x"}
    start = run_start_body(
        ENGINE, [root], "u", 1, ["snakemake", "--token", "abc", "-c2"], {"uri": uris[0]}, {"nodes": 3}
    )
    check_record(RUN_START, start, "body")
    assert start["command"] == ["snakemake", "--token", "[redacted]", "-c2"]
    check_record(RUN_START, run_start_body(ENGINE, [root], "u", 1, [], None, {}), "body")
    check_record(RUN_END, run_end_body("ok", 2, 3, 4, {"planned": 1, "finished": 1, "failed": 0}), "body")
    check_record(RUN_END, run_end_body("failed", 2, 0, 0, None), "body")


def test_task_key_is_the_rule_with_its_wildcards() -> None:
    assert task_key("all", {}) == "all"
    assert task_key("map", {"s": "a", "lane": "2"}) == "map[s=a,lane=2]"


def test_task_keys_of_different_wildcards_differ() -> None:
    hostile = [
        {"a": "1,b=2"},
        {"a": "1", "b": "2"},
        {"a": "1%2Cb=2"},
        {"a": "1]"},
        {"a": "1\n"},
        {"a": "x" * 600},
        {"a": "x" * 601},
    ]
    keys = {task_key("r", wildcards) for wildcards in hostile}
    assert len(keys) == len(hostile)


@given(TEXT, st.dictionaries(TEXT.filter(bool), TEXT, max_size=4))
def test_any_task_key_fits_the_record(rule: str, wildcards: dict[str, str]) -> None:
    key = task_key(rule, wildcards)
    assert key.isprintable()
    made = facts(task=key, wildcards=wildcards)
    check_record(TASK, task_body(ENGINE, made, "n", "u"), "body")
