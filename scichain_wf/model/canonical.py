"""Canonical bytes: a strict subset of the JSON Canonicalization Scheme (RFC 8785).

One value has one spelling, so hashes and signatures are taken over bytes that everybody can rebuild. The
subset: `None`, `bool`, `int` with |n| < 2^53, `str`, `list`, and `dict` with printable-ASCII keys. No floats,
no subclasses, no lone surrogates, bounded depth. For ASCII keys orjson's byte order equals RFC 8785's UTF-16
order, and without floats its output equals the RFC's (tests hold it against `rfc8785`).

The subset is enforced when a value is built (`encode`) and again when bytes are read (`decode`). There is no
Unicode normalisation: a file name is recorded as it was.
"""

from __future__ import annotations

from typing import TypeAlias

import orjson

from scichain_wf import limits
from scichain_wf.errors import DecodeError

JsonValue: TypeAlias = "bool | int | str | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = dict[str, JsonValue]


def dumps(value: object, size_bytes_max: int | None = None, what: str = "record") -> bytes:
    """Canonical bytes of a value already known to be in the subset (by its schema or by `check_subset`).

    Args:
        value: see above; what is outside the subset is not always noticed here.
        size_bytes_max: the limit that a reader of these bytes will hold them to.
        what: names the record in the message.

    Raises:
        DecodeError: a string is not valid Unicode, or the bytes are over the limit.
    """
    try:
        data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS)
    except orjson.JSONEncodeError as error:
        raise DecodeError(f"{what} cannot be written as canonical JSON: {error}") from None
    if size_bytes_max is not None:
        check_size(data, size_bytes_max, what)
    return b"%b" % data  # a copy: orjson's own keeps a buffer of 4 KiB or more, and records are remembered


def encode(value: object) -> bytes:
    """Canonical bytes of `value`.

    Raises:
        DecodeError: `value` is outside the subset; the message says where.
    """
    check_subset(value)
    return dumps(value)


def parse(data: bytes | memoryview, size_bytes_max: int) -> JsonValue:
    """The value of canonical bytes, whose *spelling* is checked but whose types are not yet.

    Only for callers that check the value against a closed schema next; all others use `decode`.

    Raises:
        DecodeError: too large, not JSON, nested too deeply for the parser, or not in canonical spelling
            (white space, key order, duplicate keys, escapes, number forms).
    """
    check_size(data, size_bytes_max)
    if type(data) is not bytes:
        data = bytes(data)  # a memoryview compares item by item, far slower than this copy
    try:
        value: JsonValue = orjson.loads(data)
        spelled = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError) as error:
        raise DecodeError(f"not a JSON record: {error}") from None
    if spelled != data:
        raise DecodeError("not in canonical form: key order, duplicate keys, white space, escapes or numbers differ")
    return value


def loads(data: bytes) -> JsonObject:
    """The object of bytes that are known to be canonical."""
    value: JsonObject = orjson.loads(data)
    return value


def is_spelled(data: bytes) -> bool:
    """Whether `parse` has nothing to refuse; the size is not looked at."""
    try:
        parse(data, len(data))
    except DecodeError:
        return False
    return True


def decode(data: bytes | memoryview, size_bytes_max: int) -> JsonValue:
    """The value of canonical bytes, fully checked against the subset.

    Raises:
        DecodeError: see `parse` and `check_subset`.
    """
    value = parse(data, size_bytes_max)
    check_subset(value)
    return value


def check_subset(value: object, depth_max: int = limits.RECORD_DEPTH_MAX) -> None:
    """Refuse whatever is outside the subset.

    Raises:
        DecodeError: names the offending type, number, key or depth.
    """
    kind = type(value)
    if kind is str:
        if not is_unicode(value):  # type: ignore[arg-type]
            raise DecodeError(f"text {shown(value)} holds a lone surrogate, which has no UTF-8 form")
        return
    if kind is bool or value is None:
        return
    if kind is int:
        if not -limits.INTEGER_MAX <= value <= limits.INTEGER_MAX:  # type: ignore[operator]
            raise DecodeError(f"{shown(value)} is outside ±(2^53 − 1), the range every JSON reader keeps exactly")
        return
    if depth_max == 0:
        raise DecodeError("nested too deeply")
    if kind is list:
        for item in value:  # type: ignore[attr-defined]
            check_subset(item, depth_max - 1)
    elif kind is dict:
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(key) is not str or len(key) > limits.KEY_CHARS_MAX or not (key.isascii() and key.isprintable()):
                raise DecodeError(f"object key {shown(key)} is not printable ASCII of at most {limits.KEY_CHARS_MAX}")
            check_subset(item, depth_max - 1)
    else:
        raise DecodeError(f"{kind.__name__} cannot be recorded: only null, booleans, integers, text, lists, objects")


def is_subset(value: object, depth_max: int = limits.RECORD_DEPTH_MAX) -> bool:
    """Whether `check_subset` has nothing to refuse."""
    try:
        check_subset(value, depth_max)
    except DecodeError:
        return False
    return True


def is_unicode(value: str) -> bool:
    """Whether `value` has a UTF-8 form: it holds no lone surrogate."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
    return True


def check_size(data: bytes | memoryview, size_bytes_max: int, what: str = "record") -> None:
    """Refuse bytes over a limit.

    Raises:
        DecodeError: they are.
    """
    size_bytes = data.nbytes if isinstance(data, memoryview) else len(data)
    if size_bytes > size_bytes_max:
        raise DecodeError(f"{what} of {size_bytes} bytes is over the limit of {size_bytes_max}")


def shown(value: object) -> str:
    """A short form of any value for an error message; total, whatever was handed in."""
    if type(value) is str:
        return repr(value[:90]) if len(value) <= 90 else f"{value[:90]!r}…"
    if type(value) is int and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"  # Python refuses to print the longest ones
    return repr(value) if value is None or type(value) in (int, bool) else type(value).__name__
