"""JSON Schema of a result: what `verify --json` and `audit --json` print. Published in docs/reference/schema."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from scichain_wf.audit import account, difference
from scichain_wf.audit.entry import Severity
from scichain_wf.audit.result import RESULT_VERSION, FileState, Verdict

_PLAIN: Final[dict[object, str]] = {
    str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null",
}
_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_DIGEST: Final = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_COUNTS: Final = {"type": "object", "additionalProperties": _COUNT}


def result_schema() -> dict[str, Any]:
    """The schema, without its dialect."""
    finding = _object(
        {"id": {"type": "string", "pattern": "^SC-[A-Z]+-[0-9]{3}$"}, "severity": _choice(Severity), "title": _TEXT,
         "subject": _TEXT},
        {"meaning": _TEXT, "expected": _TEXT, "actual": _TEXT, "height": _COUNT, "index": _COUNT, "key": _TEXT,
         "remedy": _TEXT, "blast": _TEXTS, "blast_count": _COUNT},
    )
    file = _object(
        {"uri": _TEXT, "state": _choice(FileState)},
        {"path": _TEXT, "task": _TEXT, "run": _TEXT, "key": _TEXT, "height": _COUNT, "index": _COUNT,
         "recorded": _DIGEST, "actual": _DIGEST, "transaction": _DIGEST},
    )
    head = _object(
        {"size": _COUNT, "link": _DIGEST, "root": _DIGEST, "checkpoint_size": _or_null(_COUNT),
         "cosigned": {"type": "array", "items": _COUNT}}
    )
    return _object(
        {
            "version": {"const": RESULT_VERSION},
            "verdict": _choice(Verdict),
            "exit_code": {"enum": [0, 1, 3]},
            "sentence": _TEXT,
            "subject": _TEXT,
            "chain": _or_null(_DIGEST),
            "head": _or_null(head),
            "counts": _COUNTS,
            "trust": _TEXTS,
            "checked": _TEXTS,
            "unchecked": _TEXTS,
            "findings": {"type": "array", "items": finding},
            "dropped": _COUNTS,
            "files": {"type": "array", "items": file},
            "account": _or_null(_fields(account.Account, overhead_percent=_or_null({"type": "number"}))),
            "difference": _or_null(_fields(difference.Difference)),
        }
    )


def _fields(record: type, **more: Any) -> dict[str, Any]:
    """Every field of a record of plain values, which is how `to_json` writes it."""
    return _object({name: _of(hint) for name, hint in get_type_hints(record).items()} | more)


def _of(hint: Any) -> dict[str, Any]:
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if isinstance(hint, UnionType):
        return {"anyOf": [_of(part) for part in get_args(hint)]}
    if get_origin(hint) is list:
        return {"type": "array", "items": _of(get_args(hint)[0])}
    if get_origin(hint) is dict:
        return {"type": "object", "additionalProperties": _of(get_args(hint)[1])}
    return _fields(hint)


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    properties = required | (optional or {})
    return {"type": "object", "properties": properties, "required": sorted(required), "additionalProperties": False}


def _choice(values: Any) -> dict[str, Any]:
    return {"enum": [value.value for value in values]}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}
