"""How the shape of a record is stated once, and both checked and published from that statement.

A schema is a tree of small fields. `check(value)` holds a value against it, on the plain dictionaries that bulk
verification works on: building a validated dataclass per transaction costs more than hashing and parsing it
together. `json_schema()` renders the same tree for the reference documentation. Objects are closed: an unknown key
is an error, so nothing enters a record unchecked.

A mismatch is raised as `Mismatch` and gains its path while it travels up; `check_record` turns it into the
`DecodeError` that callers see. `regex()` renders the same rules once more, as a pattern over bytes that spares bulk
work both parsing and `check` of what is right (see `fast`); those are what decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Final, Protocol

from scichain_wf import limits
from scichain_wf.errors import DecodeError, UnsupportedVersion
from scichain_wf.model import canonical, fast

Check = Callable[[object], None]

shown = canonical.shown


class Mismatch(Exception):
    """A value does not fit its field; `path` names where, outermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []

    def at(self, step: str) -> Mismatch:
        self.path.insert(0, step)
        return self


class Field(Protocol):
    """One node of a schema."""

    def check(self, value: object) -> None:
        """Raise `Mismatch` unless `value` fits."""

    def regex(self) -> str:
        """A pattern for canonical spellings of what fits; see `fast` for what it may and may not do."""

    def json_schema(self) -> dict[str, object]:
        """The same rule as JSON Schema (2020-12)."""


class Text:
    """A string of bounded length, optionally with a prefix (ASCII, nothing to escape) that comes before that."""

    def __init__(self, chars_max: int, chars_min: int = 1, prefix: str = "") -> None:
        self._own_min, self._prefix = chars_min, prefix
        self._min, self._max = chars_min + len(prefix), chars_max + len(prefix)

    def check(self, value: object) -> None:
        if type(value) is not str:
            raise Mismatch(f"expected text, found {type(value).__name__}")
        if not self._min <= len(value) <= self._max:
            raise Mismatch(f"text of {len(value)} characters; allowed are {self._min} to {self._max}")
        if self._prefix and not value.startswith(self._prefix):
            raise Mismatch(f"{shown(value)} does not begin with {self._prefix}")
        if not value.isascii() and not canonical.is_unicode(value):
            raise Mismatch(f"{shown(value)} holds a lone surrogate, which has no UTF-8 form")

    def regex(self) -> str:
        if self._own_min > 1:
            return fast.NEVER
        return fast.text(self._own_min, self._max - len(self._prefix), self._prefix)

    def json_schema(self) -> dict[str, object]:
        rendered: dict[str, object] = {"type": "string", "minLength": self._min, "maxLength": self._max}
        if self._prefix:
            rendered["pattern"] = f"^{re.escape(self._prefix)}"
        return rendered


class Hex:
    """So many lower-case hex digits after a prefix."""

    def __init__(self, digits: int, prefix: str = "") -> None:
        self._size, self._pattern = len(prefix) + digits, f"{prefix}[0-9a-f]{{{digits}}}"
        self._match = re.compile(self._pattern).fullmatch  # never `$`, which allows a final newline

    def check(self, value: object) -> None:
        if type(value) is not str:
            raise Mismatch(f"expected text, found {type(value).__name__}")
        if not self._match(value):
            raise Mismatch(f"{shown(value)} does not match {self._pattern}")

    def regex(self) -> str:
        return f'"{self._pattern}"'

    def json_schema(self) -> dict[str, object]:
        size = self._size
        return {"type": "string", "minLength": size, "maxLength": size, "pattern": f"^{self._pattern}$"}


class Integer:
    """An integer within bounds (both inclusive); booleans are not integers."""

    def __init__(self, minimum: int = 0, maximum: int = limits.INTEGER_MAX) -> None:
        self._min, self._max = minimum, maximum

    def check(self, value: object) -> None:
        if type(value) is not int:
            raise Mismatch(f"expected an integer, found {type(value).__name__}")
        if not self._min <= value <= self._max:
            raise Mismatch(f"{shown(value)} is outside {self._min} to {self._max}")

    def regex(self) -> str:
        return fast.integer(self._min, self._max)

    def json_schema(self) -> dict[str, object]:
        return {"type": "integer", "minimum": self._min, "maximum": self._max}


class Flag:
    """True or false."""

    def check(self, value: object) -> None:
        if type(value) is not bool:
            raise Mismatch(f"expected true or false, found {type(value).__name__}")

    def regex(self) -> str:
        return "(?:true|false)"

    def json_schema(self) -> dict[str, object]:
        return {"type": "boolean"}


class Choice:
    """One of a few fixed strings or integers."""

    def __init__(self, *values: str | int) -> None:
        # An enum's members stand for their plain values: only those come out of JSON.
        self._shown: list[str | int] = [str(value) if isinstance(value, str) else value for value in values]
        self._values = frozenset((type(value), value) for value in self._shown)

    def check(self, value: object) -> None:
        if type(value) not in (str, int) or (type(value), value) not in self._values:
            raise Mismatch(f"{shown(value)} is not one of {', '.join(map(str, self._shown))}")

    def regex(self) -> str:
        return fast.constants(self._shown)

    def json_schema(self) -> dict[str, object]:
        return {"enum": self._shown}


class Nullable:
    """Null, or what the inner field takes."""

    def __init__(self, inner: Field) -> None:
        self._inner = inner

    def check(self, value: object) -> None:
        if value is not None:
            self._inner.check(value)

    def regex(self) -> str:
        return f"(?:null|{self._inner.regex()})"

    def json_schema(self) -> dict[str, object]:
        return {"anyOf": [{"type": "null"}, self._inner.json_schema()]}


class AnyOf:
    """What the first or the second field takes."""

    def __init__(self, first: Field, second: Field) -> None:
        self._first, self._second = first, second

    def check(self, value: object) -> None:
        try:
            self._first.check(value)
        except Mismatch:
            self._second.check(value)

    def regex(self) -> str:
        return f"(?:{self._first.regex()}|{self._second.regex()})"

    def json_schema(self) -> dict[str, object]:
        return {"anyOf": [self._first.json_schema(), self._second.json_schema()]}


class Array:
    """A list whose items all fit one field."""

    def __init__(self, item: Field, items_max: int, items_min: int = 0) -> None:
        self._item, self._check, self._min, self._max = item, item.check, items_min, items_max

    def check(self, value: object) -> None:
        if type(value) is not list:
            raise Mismatch(f"expected a list, found {type(value).__name__}")
        if not self._min <= len(value) <= self._max:
            raise Mismatch(f"list of {len(value)} items; allowed are {self._min} to {self._max}")
        check = self._check
        for number, item in enumerate(value):
            try:
                check(item)
            except Mismatch as mismatch:
                raise mismatch.at(f"[{number}]") from None

    def regex(self) -> str:
        return fast.array(self._item.regex(), self._min, self._max)

    def json_schema(self) -> dict[str, object]:
        return {"type": "array", "items": self._item.json_schema(), "minItems": self._min, "maxItems": self._max}


class Record:
    """An object with named fields; those in `optional` may be left out (unknown is omitted, never invented)."""

    def __init__(self, required: Mapping[str, Field], optional: Mapping[str, Field] | None = None) -> None:
        self._fields: dict[str, Field] = {**required, **(optional or {})}
        self._checks: dict[str, Check] = {name: field.check for name, field in self._fields.items()}
        self._required: Final = frozenset(required)

    def check(self, value: object) -> None:
        if type(value) is not dict:
            raise Mismatch(f"expected an object, found {type(value).__name__}")
        checks = self._checks
        for name, item in value.items():
            check = checks.get(name)
            if check is None:
                raise Mismatch(f"unknown field {shown(name)}")
            try:
                check(item)
            except Mismatch as mismatch:
                raise mismatch.at(name) from None
        if len(value) < len(checks) and not self._required <= value.keys():
            raise Mismatch(f"missing {', '.join(sorted(self._required - value.keys()))}")

    @cached_property
    def matches(self) -> fast.Match:
        """Whether bytes surely are canonical and fit. Compiled at the first use: some 50 ms for a task."""
        return fast.Pattern(self.regex()).match

    def regex(self) -> str:
        return fast.record({name: field.regex() for name, field in self._fields.items()}, self._required)

    def json_schema(self) -> dict[str, object]:
        return {
            "type": "object",
            "properties": {name: field.json_schema() for name, field in sorted(self._fields.items())},
            "required": sorted(self._required),
            "additionalProperties": False,
        }


class Free:
    """Any value of the canonical subset: what only the workflow gives a meaning (parameters, wildcards).

    `name` differs from that of every other free field of a record; only the pattern needs it.
    """

    _DEPTH_MAX: Final = limits.RECORD_DEPTH_MAX - 4  # what is left below a body's own levels

    def __init__(self, name: str = "value") -> None:
        self._name = name

    def check(self, value: object) -> None:
        try:
            canonical.check_subset(value, self._DEPTH_MAX)
        except DecodeError as error:
            raise Mismatch(str(error)) from None

    def regex(self) -> str:
        return fast.free(self._name, fast.FREE)

    def json_schema(self) -> dict[str, object]:
        return {"description": "any JSON value without floats; integers within ±(2^53 − 1)"}


class FreeObject(Free):
    """An object whose keys the workflow chose."""

    def check(self, value: object) -> None:
        if type(value) is not dict:
            raise Mismatch(f"expected an object, found {type(value).__name__}")
        super().check(value)

    def regex(self) -> str:
        return fast.free(self._name, fast.FREE_OBJECT)

    def json_schema(self) -> dict[str, object]:
        return {"type": "object", **super().json_schema()}


class Taken:
    """A field whose text a match of its record's pattern hands out under `name`, unique in the record."""

    def __init__(self, name: str, inner: Field) -> None:
        self._name, self._inner = name, inner

    def check(self, value: object) -> None:
        self._inner.check(value)

    def regex(self) -> str:
        return fast.taken(self._name, self._inner.regex())

    def json_schema(self) -> dict[str, object]:
        return self._inner.json_schema()


class Embedded:
    """An object that is a record of its own: only its type is checked here, its schema is applied by its module.

    `name` is that of the published schema document.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def check(self, value: object) -> None:
        if type(value) is not dict:
            raise Mismatch(f"expected an object, found {type(value).__name__}")

    def regex(self) -> str:
        return fast.NEVER

    def json_schema(self) -> dict[str, object]:
        return {"$ref": f"{self._name}.schema.json"}


def refuse_newer(value: object, supported: int, what: str) -> None:
    """Tell a record of a later format from a wrong one, before its shape is looked at.

    Raises:
        UnsupportedVersion: its `version` is an integer above `supported`.
    """
    version = value.get("version") if type(value) is dict else None
    if type(version) is int and version > supported:
        raise UnsupportedVersion(
            f"{what} of version {shown(version)}; this scichain-wf reads up to {supported}: install a newer one"
        )


DIGEST: Final = Hex(64, "sha256:")
PUBLIC_KEY: Final = Hex(64, "ed25519:")
SIGNATURE: Final = Hex(128)
KEY: Final = Hex(32)
NODE_HASH: Final = Hex(64)
COUNT: Final = Integer(0)
ORDINAL: Final = Integer(1)
TIME_US: Final = Integer(0)
NAME: Final = Text(limits.NAME_CHARS_MAX)
FREE_TEXT: Final = Text(limits.TEXT_CHARS_MAX, chars_min=0)


def check_record(field: Field, value: object, what: str) -> None:
    """Hold `value` against `field`.

    Raises:
        DecodeError: names `what`, the path inside it and the rule it breaks.
    """
    try:
        field.check(value)
    except Mismatch as mismatch:
        where = "".join(f".{step}" if not step.startswith("[") else step for step in mismatch.path)
        raise DecodeError(f"{what}{where}: {mismatch.reason}") from None
