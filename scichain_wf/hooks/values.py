"""What a workflow chose freely, made fit for a record: typed, bounded, and without its secrets.

The canonical subset has no floats, no big integers and no lone surrogates, so those become text; deep or long
values are cut, and the caller lists the field under `truncated`. Values whose name says that they are secret, and
the usual spellings of credentials inside text, are replaced *before* anything is hashed, and the field is listed
under `redacted`. Redaction is by pattern: it finds the usual, not everything (docs say so).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Final

from scichain_wf import limits
from scichain_wf.model.canonical import JsonValue

REDACTED: Final = "[redacted]"
_DEPTH_MAX: Final = limits.RECORD_DEPTH_MAX - 6
"""Levels below a field: a body and its envelope take the others."""

_SECRET_NAME: Final = re.compile(
    r"passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|authorization",
    re.IGNORECASE,
)
_SPELLED: Final = r"[\w-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key)[\w-]*"
_SECRETS: Final = (
    re.compile(rf"(?i)(?<![\w-])(-{{0,2}}{_SPELLED}\s*[=:]\s*|--{_SPELLED}\s+)(\"[^\"]*\"|'[^']*'|[^\s\"';&|]+)"),
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)([A-Za-z0-9._~+/-]{8,}=*)"),
    re.compile(r"([a-z][a-z0-9+.-]*://[^\s/:@]*:)([^\s/@]+)(?=@)"),
    re.compile(r"()(\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|glpat-[\w-]{20,}|xox[abp]-[\w-]{10,})\b)"),
)


@dataclass(slots=True)
class Fitting:
    """Makes values fit, and remembers in which fields something was replaced or cut."""

    redacted: set[str] = field(default_factory=set)
    truncated: set[str] = field(default_factory=set)

    def text(self, name: str, value: str, chars_max: int = limits.TEXT_CHARS_MAX) -> str:
        """Free text: valid Unicode, without the usual spellings of credentials, at most `chars_max` long."""
        shown = clean(value)
        if len(shown) > chars_max:  # cut first: the patterns need not search what is not kept
            self.truncated.add(name)
            shown = shown[:chars_max]
        for pattern in _SECRETS:
            shown, count = pattern.subn(rf"\g<1>{REDACTED}", shown)
            if count:
                self.redacted.add(name)
        return shown[:chars_max]

    def free(self, name: str, value: object) -> JsonValue:
        """Any value as one of the canonical subset."""
        return self._free(name, value, _DEPTH_MAX, [limits.FREE_VALUES_MAX])

    def _free(self, name: str, value: object, depth: int, left: list[int]) -> JsonValue:
        left[0] -= 1
        if depth == 0 or left[0] <= 0:
            self.truncated.add(name)
            return None
        if value is None or isinstance(value, bool):
            return value if value is None else bool(value)
        if isinstance(value, int) and abs(value) <= limits.INTEGER_MAX:
            return int(value)
        if isinstance(value, Mapping):
            items = [(key, item) for key, item in value.items()][: left[0]]
            return {self._key(name, key): self._secret_or(name, key, item, depth, left) for key, item in items}
        if isinstance(value, list | tuple | set | frozenset):
            listed = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
            return [self._free(name, item, depth - 1, left) for item in listed[: left[0]]]
        return self.text(name, _spelled(value), limits.FREE_TEXT_CHARS_MAX)

    def _secret_or(self, name: str, key: object, item: object, depth: int, left: list[int]) -> JsonValue:
        if isinstance(key, str) and _SECRET_NAME.search(key) and item not in (None, "", True, False):
            self.redacted.add(name)
            return REDACTED
        return self._free(name, item, depth - 1, left)

    def _key(self, name: str, key: object) -> str:
        shown = str(key).encode("unicode_escape").decode("ascii")
        if len(shown) > limits.KEY_CHARS_MAX:
            self.truncated.add(name)
        return shown[: limits.KEY_CHARS_MAX]


def clean(text: str) -> str:
    """`text` as valid Unicode: a byte that came in as a lone surrogate becomes a backslash, `x` and two digits."""
    if text.isascii():
        return text
    errors = "surrogateescape" if _only_escapes(text) else "backslashreplace"
    return text.encode("utf-8", errors).decode("utf-8", "backslashreplace")


def name(text: str) -> str:
    """Text that names something: one line, at most NAME_CHARS_MAX, never empty."""
    if text and text.isprintable() and len(text) <= limits.NAME_CHARS_MAX:
        return text
    return "".join(c if c.isprintable() else "?" for c in clean(text)[: limits.NAME_CHARS_MAX]) or "?"


def _only_escapes(text: str) -> bool:
    return all(not 0xD800 <= ord(c) < 0xE000 or 0xDC80 <= ord(c) <= 0xDCFF for c in text)


def _spelled(value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, PathLike):
        return str(value)
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a parameter's own repr may raise anything; it must not fail a task
        return f"<{type(value).__name__}: {type(error).__name__}>"
