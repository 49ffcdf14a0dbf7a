"""Transactions: construction, bytes, ids, keys, limits, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import Any

import pytest

from scichain_wf import limits
from scichain_wf.crypto.merkle import leaf_hash
from scichain_wf.errors import DecodeError, UsageError
from scichain_wf.model import canonical
from scichain_wf.model import transaction as transactions
from scichain_wf.model.bodies import BODIES, HASHED_STATES, ArtifactState, Kind
from scichain_wf.model.canonical import JsonObject, JsonValue
from scichain_wf.model.transaction import NO_RUN, Envelope, RunId, Transaction, TransactionKey, make_key
from tests.unit.model.samples import chain, samples

CHAIN = bytes(32)
KEY = TransactionKey(bytes(16))


def note(text: str = "x", **more: Any) -> Transaction:
    fields: dict[str, Any] = {"chain": CHAIN, "key": KEY, "kind": Kind.NOTE, "run": NO_RUN, "host": "h", "time_us": 1}
    return Transaction(**(fields | {"body": {"text": text}} | more))


def task(**body: Any) -> Transaction:
    full = dict(chain()[1]["task"].body)
    return note(kind=Kind.TASK, body=full | body)


def test_every_kind_has_a_golden_sample_and_a_body() -> None:
    assert {f"transaction-{kind}" for kind in Kind} == {name for name in samples() if name.startswith("transaction-")}
    assert {*BODIES, Kind.EPOCH} == set(Kind)


@pytest.mark.parametrize("kind", list(Kind))
def test_id_is_the_leaf_hash_of_the_bytes(kind: Kind) -> None:
    transaction = chain()[1][kind]
    assert transaction.id == leaf_hash(transaction.encode())
    assert Transaction.decode(transaction.encode()) == transaction
    assert Transaction.decode(memoryview(transaction.encode())) == transaction
    assert transactions.parse(transaction.encode()) == transaction.value()


@pytest.mark.parametrize(
    "change",
    [
        {"chain": b"short"},
        {"key": b"short"},
        {"run": bytes(17)},
        {"host": ""},
        {"host": "h" * (limits.NAME_CHARS_MAX + 1)},
        {"host": "\ud800"},
        {"time_us": -1},
        {"time_us": 2**53},
        {"time_us": True},
        {"time_us": 1.0},
        {"time_us": 2**70},
        {"body": {}},
        {"body": {"text": "x", "more": 1}},
        {"body": {"text": "\udcff"}},
        {"body": {"text": "x" * (limits.TEXT_CHARS_MAX + 1)}},
        {"body": []},
        {"kind": Kind.TASK},
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_made(change: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        note(**change)


def test_later_changes_of_the_body_change_neither_bytes_nor_id() -> None:
    body: JsonObject = {"text": "x"}
    transaction = note(body=body)
    before = transaction.encode(), transaction.id
    body["text"] = "y"
    assert (transaction.encode(), transaction.id) == before


def test_a_transaction_over_its_size_is_refused_when_made_and_when_read() -> None:
    artifact = {"uri": "x:" + "a" * 8_000, "role": "r", "state": "absent"}
    with pytest.raises(DecodeError, match="over the limit"):
        task(outputs=[artifact] * 140)
    large = task(outputs=[artifact] * 120).value()
    large["body"]["outputs"] *= 2  # type: ignore[index,operator,call-overload]
    data = canonical.dumps(large)
    assert limits.TRANSACTION_BYTES_MAX < len(data) < limits.EPOCH_TRANSACTION_BYTES_MAX
    with pytest.raises(DecodeError, match="over the limit"):
        transactions.parse(data)
    with pytest.raises(DecodeError, match="over the limit"):
        transactions.dumps(large)


def test_inputs_and_outputs_are_limited_together() -> None:
    half = [{"uri": "x:a", "role": "r", "state": "absent"}] * (limits.ARTIFACTS_PER_TASK_MAX // 2)
    task(inputs=half, outputs=half)
    with pytest.raises(DecodeError, match="over the limit of 4000"):
        task(inputs=half, outputs=[*half, half[0]])


@pytest.mark.parametrize("value", [None, [], "x", 1, {}, {"kind": None}, {"kind": []}, {"kind": "other"}, {"kind": 1}])
def test_what_is_no_transaction_is_refused_with_a_reason(value: object) -> None:
    with pytest.raises(DecodeError, match="transaction"):
        transactions.check(value)
    with pytest.raises(DecodeError, match="transaction"):
        transactions.parse(canonical.dumps(value))


@pytest.mark.parametrize(
    ("origin", "fits"),
    [("source", True), ("task:a\nb", True), ("task:", False), ("sources", False), ("source\n", False), ("x", False)],
)
def test_an_origin_is_source_or_a_task(origin: str, fits: bool) -> None:
    inputs = [{"uri": "x:a", "role": "r", "state": "absent", "origin": origin}]
    if fits:
        assert transactions.parse(task(inputs=inputs).encode())
    else:
        with pytest.raises(DecodeError, match="origin"):
            task(inputs=inputs)


def test_hashed_states_leave_out_what_has_no_content() -> None:
    assert ArtifactState.ABSENT not in HASHED_STATES
    assert ArtifactState.FILE in HASHED_STATES


def test_keys_are_uuid7_and_ordered_by_time() -> None:
    keys = [make_key(time_ms, bytes(range(10))) for time_ms in (0, 1, 2**40, 2**48 - 1)]
    assert keys == sorted(keys)
    for key in keys:
        parsed = uuid.UUID(bytes=key)
        assert parsed.version == 7
        assert parsed.variant == uuid.RFC_4122


@pytest.mark.parametrize(("time_ms", "random_bytes"), [(0, b"x"), (-1, bytes(10)), (2**48, bytes(10))])
def test_a_key_needs_a_time_and_ten_random_bytes(time_ms: int, random_bytes: bytes) -> None:
    with pytest.raises(UsageError):
        make_key(time_ms, random_bytes)


def test_run_ids_are_not_the_zero_run() -> None:
    assert note(run=RunId(bytes(range(16)))).run != NO_RUN


def test_the_hook_path_imports_no_cryptography() -> None:
    """Nor anything else beyond the standard library and orjson."""
    code = (
        "import sys; before = set(sys.modules); import scichain_wf.model.transaction, scichain_wf.model.uri; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new - sys.stdlib_module_names - {'scichain_wf', 'orjson'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_after_many_records_of_a_kind_its_pattern_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "_CHECKED_MAX", 3)
    monkeypatch.setattr(transactions, "_CHECKED", {})
    monkeypatch.setattr(transactions, "_MATCHES", {})
    data = chain()[1]["task"].encode()
    for _ in range(3):
        assert b"task" not in transactions._MATCHES
        transactions.parse(data)
    assert b"task" in transactions._MATCHES
    monkeypatch.setattr(transactions, "check", None)
    assert canonical.dumps(transactions.parse(data)) == data
    assert canonical.dumps(transactions.parse(memoryview(data))) == data


@pytest.mark.parametrize("kind", list(BODIES))
def test_envelope_spells_what_a_transaction_spells(kind: Kind) -> None:
    made = chain()[1][kind.value]
    for host in (made.host, 'h"\\\u00e9\n'):
        envelope = Envelope(made.chain, made.run, host)
        whole = Transaction(made.chain, made.key, kind, made.run, host, made.time_us, made.body)
        assert envelope.encode(kind, made.key, made.time_us, made.body) == whole.encode()


def test_envelope_refuses_what_a_transaction_refuses() -> None:
    for chain_id, run, host in [(b"", NO_RUN, "h"), (CHAIN, RunId(b""), "h"), (CHAIN, NO_RUN, "")]:
        with pytest.raises(DecodeError):
            Envelope(chain_id, run, host)
    envelope = Envelope(CHAIN, NO_RUN, "h")
    with pytest.raises(DecodeError, match=r"transaction\.body\.text: expected text"):
        envelope.encode(Kind.NOTE, KEY, 1, {"text": 1})
    inputs: list[JsonValue] = [{"uri": "file:///x", "role": "r", "state": "absent"}] * 2_001
    with pytest.raises(DecodeError, match="4002 inputs and outputs"):
        envelope.encode(Kind.TASK, KEY, 1, dict(task().body) | {"inputs": inputs, "outputs": inputs})
    with pytest.raises(DecodeError, match="over the limit"):
        envelope.encode(Kind.RUN_START, KEY, 1, dict(chain()[1]["run-start"].body) | {"command": ["x" * 60_000] * 20})
    for kind, key, time_us in [
        (Kind.EPOCH, KEY, 1),
        (Kind.NOTE, TransactionKey(b""), 1),
        (Kind.NOTE, KEY, -1),
        (Kind.NOTE, KEY, limits.INTEGER_MAX + 1),
    ]:
        with pytest.raises(UsageError, match="can be made here"):
            envelope.encode(kind, key, time_us, {"text": "x"})
