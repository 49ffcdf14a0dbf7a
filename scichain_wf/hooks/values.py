"""What a workflow chose freely, made fit for a record: typed, bounded, and without its secrets.

The canonical subset has no floats, no big integers and no lone surrogates, so those become text; deep or long
values are cut, and the caller lists the field under `truncated`. What `redaction` takes for a secret is replaced, and
the field is listed under `redacted`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Final

from scichain_wf import limits
from scichain_wf.hooks.redaction import REDACTED, USUAL, Redaction
from scichain_wf.model.canonical import JsonValue

_DEPTH_MAX: Final = limits.RECORD_DEPTH_MAX - 6
"""Levels below a field: a body and its envelope take the others."""

@dataclass(slots=True)
class Fitting:
    """Makes values fit, and remembers in which fields something was replaced or cut."""

    redaction: Redaction = USUAL
    redacted: set[str] = field(default_factory=set)
    truncated: set[str] = field(default_factory=set)

    def text(self, name: str, value: str, chars_max: int = limits.TEXT_CHARS_MAX) -> str:
        """Free text: valid Unicode, without the usual spellings of credentials, at most `chars_max` long."""
        shown = clean(value)
        if len(shown) > chars_max:
            self.truncated.add(name)
            shown = shown[: chars_max + limits.NAME_CHARS_MAX]  # a secret across the end shall still be one
        kept = self.redaction.text(shown)
        if kept != shown:
            self.redacted.add(name)
        return kept[:chars_max]

    def command(self, name: str, arguments: Sequence[str]) -> list[str]:
        """A command line, argument by argument, each bounded."""
        whole = [clean(argument) for argument in arguments[: limits.COMMAND_ARGUMENTS_MAX]]
        shown = [argument[: limits.FREE_TEXT_CHARS_MAX] for argument in whole]
        if len(whole) < len(arguments) or shown != whole:
            self.truncated.add(name)
        kept = self.redaction.arguments(shown)
        if kept != shown:
            self.redacted.add(name)
        return kept

    def typed(self, name: str, arguments: Sequence[str]) -> str:
        """The same as one would type it."""
        typed = shlex.join(self.command(name, arguments))
        if len(typed) > limits.TEXT_CHARS_MAX:
            self.truncated.add(name)
        return typed[: limits.TEXT_CHARS_MAX]

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
            listed = sorted(value, key=_spelled) if isinstance(value, set | frozenset) else value
            return [self._free(name, item, depth - 1, left) for item in listed[: left[0]]]
        return self.text(name, _spelled(value), limits.FREE_TEXT_CHARS_MAX)

    def _secret_or(self, name: str, key: object, item: object, depth: int, left: list[int]) -> JsonValue:
        is_plain = item is None or isinstance(item, bool) or (isinstance(item, str) and not item)
        if isinstance(key, str) and self.redaction.is_name(key) and not is_plain:
            self.redacted.add(name)
            return REDACTED
        return self._free(name, item, depth - 1, left)

    def _key(self, name: str, key: object) -> str:
        shown = _said(str, key).encode("unicode_escape").decode("ascii")
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
    return _said(str if isinstance(value, PathLike) else repr, value)


def _said(spell: Callable[[object], str], value: object) -> str:
    try:
        return spell(value)
    except Exception as error:  # noqa: BLE001 - a parameter's own repr may raise anything; it must not fail a task
        return f"<{type(value).__name__}: {type(error).__name__}>"
