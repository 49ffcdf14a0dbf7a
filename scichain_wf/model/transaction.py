"""Transactions: the leaves of everything. Schema version 1.

A transaction is canonical JSON with eight fields: version, chain id, key, kind, run id, host that made it,
time, body. Its key is a UUIDv7 made by the hook (time-ordered, so that indexes grow at their end); its id is the
RFC 6962 leaf hash of its bytes, so an id is already the leaf of the block's tree.

`parse` serves bulk work and returns the plain dictionary; `Transaction` is the typed view for everyone else.
Importing this module costs the hook only the standard library and orjson.
"""

from __future__ import annotations

from binascii import hexlify
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NewType, Self, cast

from scichain_wf import limits
from scichain_wf.crypto.merkle import leaf_hash
from scichain_wf.errors import DecodeError, UsageError
from scichain_wf.model import canonical
from scichain_wf.model.bodies import BODIES, Kind
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.schema import (
    DIGEST,
    KEY,
    NAME,
    TIME_US,
    Choice,
    Record,
    Taken,
    check_record,
    refuse_newer,
    shown,
)
from scichain_wf.model.text import digest_bytes, digest_text, hex_bytes

if TYPE_CHECKING:
    import re

    from scichain_wf.model.fast import Match
    from scichain_wf.model.schema import Field

TransactionKey = NewType("TransactionKey", bytes)
"""16 bytes, time-ordered (UUIDv7, RFC 9562 §5.7)."""
RunId = NewType("RunId", bytes)
"""16 bytes, time-ordered."""

SCHEMA_VERSION: Final = 1

_ENVELOPE: Final[dict[str, Field]] = {
    "version": Choice(SCHEMA_VERSION),
    "chain": Taken("chain", DIGEST),
    "key": Taken("key", KEY),
    "run": Taken("run", KEY),
    "host": NAME,
    "time_us": TIME_US,
}
NO_RUN: Final = RunId(bytes(16))
"""The run of what belongs to none (an `epoch`)."""


def record_of(kind: str) -> Record:
    """The closed schema of a whole transaction of one kind."""
    body = BODIES.get(kind)
    if body is None and kind == Kind.EPOCH:
        from scichain_wf.model.epoch import EPOCH  # the hook never needs it, and it pulls in `cryptography`

        body = EPOCH
    if body is None:
        raise DecodeError(f"transaction.kind: {shown(kind)} is not one of {', '.join(Kind)}")
    fields: dict[str, Field] = {**_ENVELOPE, "kind": Taken("kind", Choice(kind)), "body": body}
    return Record(fields)


_RECORDS: dict[str, Record] = {}
_MATCHES: dict[bytes, Match] = {}
_CHECKED: dict[str, int] = {}
_CHECKED_MAX: Final = 1_000  # after so many records of a kind, compiling its pattern (some 50 ms) pays soon
_TASK: Final = Kind.TASK.value  # comparing with a member of an enum costs several times as much
_EPOCH: Final = Kind.EPOCH.value
_KIND: Final = b'"kind":"'
_SMALL_BYTES: Final = 32 * limits.ARTIFACTS_PER_TASK_MAX  # the shortest artifact, {"role":…}, takes more than 32


def parse(data: bytes | memoryview) -> JsonObject:
    """The checked dictionary of one transaction's bytes.

    Raises:
        UnsupportedVersion: made by a newer schema than this program reads.
        DecodeError: oversize, not canonical, unknown kind, or not of its kind's shape.
    """
    if type(data) is not bytes:
        canonical.check_size(data, limits.EPOCH_TRANSACTION_BYTES_MAX, "transaction")
        data = bytes(data)
    if match(data) is not None:
        return canonical.loads(data)
    value = canonical.parse(data, limits.EPOCH_TRANSACTION_BYTES_MAX)
    check(value)
    checked = cast("JsonObject", value)
    _count(cast("str", checked["kind"]))
    if len(data) > _SMALL_BYTES:
        _check_extent(checked, data)
    return checked


def match(data: bytes) -> re.Match[bytes] | None:
    """A match if `data` surely is what `parse` accepts; None if only `parse` can tell.

    Its groups are `chain`, `key`, `kind` and `run`, and a task's `inputs` and `outputs`, all as they are spelled.
    """
    if len(data) > _SMALL_BYTES:
        return None
    begin = data.rfind(_KIND) + len(_KIND)  # where there is none, these bytes are no kind either
    matches = _MATCHES.get(data[begin : data.find(b'"', begin)])
    return None if matches is None else matches(data)


def _count(kind: str) -> None:
    """Note that a record of `kind` was checked without its pattern."""
    _CHECKED[kind] = number = _CHECKED.get(kind, 0) + 1
    if number == _CHECKED_MAX:
        _MATCHES[kind.encode()] = _RECORDS[kind].matches


def check(value: object) -> None:
    """Hold a value against the schema of its kind; errors as in `parse`, but its size is not looked at."""
    refuse_newer(value, SCHEMA_VERSION, "transaction")
    if type(value) is not dict:
        raise DecodeError(f"transaction: expected an object, found {type(value).__name__}")
    kind = value.get("kind")
    if type(kind) is not str:
        raise DecodeError("transaction.kind: missing or not text")
    record = _RECORDS.get(kind)
    if record is None:
        record = _RECORDS[kind] = record_of(kind)
    check_record(record, value, "transaction")


def dumps(value: JsonObject) -> bytes:
    """Canonical bytes of a value that passed `check`.

    Raises:
        DecodeError: over the limit of its kind.
    """
    data = canonical.dumps(value, what="transaction")
    if len(data) > _SMALL_BYTES:
        _check_extent(value, data)
    return data


def _check_extent(value: JsonObject, data: bytes | memoryview) -> None:
    """The limits that one field's schema cannot state."""
    kind = value["kind"]
    if len(data) > limits.TRANSACTION_BYTES_MAX:
        limit = limits.EPOCH_TRANSACTION_BYTES_MAX if kind == _EPOCH else limits.TRANSACTION_BYTES_MAX
        canonical.check_size(data, limit, "transaction")
    if kind == _TASK:
        body = cast("dict[str, list[object]]", value["body"])
        artifacts = len(body["inputs"]) + len(body["outputs"])
        if artifacts > limits.ARTIFACTS_PER_TASK_MAX:
            limit = limits.ARTIFACTS_PER_TASK_MAX
            raise DecodeError(f"transaction.body: {artifacts} inputs and outputs are over the limit of {limit}")


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction. `chain` 32 bytes, `key` and `run` 16, `time_us` wall clock of the maker (a claim).

    Its bytes are taken when it is made, after everything was checked: `body` is the caller's dictionary, and what
    happens to that later changes neither the bytes nor the id.

    Raises:
        DecodeError: on construction, if the record is outside its schema or its limits.
    """

    chain: bytes
    key: TransactionKey
    kind: Kind
    run: RunId
    host: str
    time_us: int
    body: JsonObject
    _bytes: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        value = self.value()
        check(value)
        object.__setattr__(self, "_bytes", dumps(value))

    def value(self) -> JsonObject:
        """The record as plain JSON values."""
        return {
            "version": SCHEMA_VERSION,
            "chain": digest_text(self.chain),
            "key": self.key.hex(),
            "kind": self.kind.value,
            "run": self.run.hex(),
            "host": self.host,
            "time_us": self.time_us,
            "body": self.body,
        }

    def encode(self) -> bytes:
        """Canonical bytes."""
        return self._bytes

    @property
    def id(self) -> bytes:
        """RFC 6962 leaf hash of the bytes."""
        return leaf_hash(self._bytes)

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        """Strict inverse of `encode`; errors as in `parse`."""
        value = cast("dict[str, str]", parse(data))
        return cls(
            chain=digest_bytes(value["chain"]),
            key=TransactionKey(hex_bytes(value["key"], 16)),
            kind=Kind(value["kind"]),
            run=RunId(hex_bytes(value["run"], 16)),
            host=value["host"],
            time_us=cast("int", value["time_us"]),
            body=cast("JsonObject", value["body"]),
        )


class Envelope:
    """Makes the bytes of one run's transactions on one host: what all of them share is checked and spelled once.

    `encode` returns what `Transaction(...).encode()` does, for less than half of its time: a hook counts microseconds.

    Raises:
        DecodeError: on construction, if chain, run or host cannot be in a transaction.
    """

    def __init__(self, chain: bytes, run: RunId, host: str) -> None:
        example = Transaction(chain, TransactionKey(bytes(16)), Kind.NOTE, run, host, 0, {"text": "-"})
        value = example.value()
        self._begin: Final = b'{"body":'
        self._middle: Final = b',"chain":%b,"host":%b,"key":"' % tuple(
            canonical.dumps(value[name]) for name in ("chain", "host")
        )
        self._end: Final = b'","run":"%b","time_us":' % run.hex().encode()

    def encode(self, kind: Kind, key: TransactionKey, time_us: int, body: JsonObject) -> bytes:
        """Canonical bytes of one transaction of a kind that hooks make.

        Raises:
            UsageError: a kind, key or time that no hook's transaction has.
            DecodeError: the body is outside its schema or its limits.
        """
        record = BODIES.get(kind)
        if record is None or len(key) != 16 or not 0 <= time_us <= limits.INTEGER_MAX:
            raise UsageError(f"no transaction of kind {kind}, key {key.hex()} and time {time_us} can be made here")
        check_record(record, body, "transaction.body")
        text = b'%b%b%b%b","kind":"%b%b%d,"version":%d}' % (
            self._begin,
            canonical.dumps(body, what="transaction"),
            self._middle,
            hexlify(key),
            kind.encode(),
            self._end,
            time_us,
            SCHEMA_VERSION,
        )
        if len(text) > _SMALL_BYTES:
            _check_extent({"kind": kind.value, "body": body}, text)
        return text


def make_key(time_ms: int, random_bytes: bytes) -> TransactionKey:
    """A UUIDv7 from a clock and 10 random bytes (RFC 9562 §5.7); both are arguments, this layer has neither."""
    if len(random_bytes) != 10 or not 0 <= time_ms < 1 << 48:
        raise UsageError("a transaction key takes a time of 48 bits in milliseconds and 10 random bytes")
    value = bytearray(time_ms.to_bytes(6, "big") + random_bytes)
    value[6] = 0x70 | (value[6] & 0x0F)
    value[8] = 0x80 | (value[8] & 0x3F)
    return TransactionKey(bytes(value))
