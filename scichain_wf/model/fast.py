r"""A schema as one regular expression over canonical bytes: what makes bulk verification fast.

`schema.Field.check` says exactly what is wrong, at the price of a call per value. Nearly every record is right, though,
and the canonical spellings of a closed schema are a regular language. So `Field.regex` renders each field as a pattern,
and the pattern of a whole record tells by one match, in C, that `check` would find nothing. A match saves `check`; no
match decides nothing, `check` does.

Patterns are for bytes that `canonical.parse` accepted. So they need not look for what cannot be there: white space,
keys out of order or repeated, broken escapes, invalid UTF-8. They may refuse what fits, for instance free values nested
very deep, and never match what does not (tests hold one against the other). Where they count characters they count
bytes or more, and every repetition is possessive: a value has one way to match, so there is nothing to come back for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from scichain_wf import limits

NEVER: Final = r"(?!)"
"""Matches nothing: for what is left to `check`."""

_DEPTH: Final = 3
"""Levels of lists and objects in a free value that are worth a pattern; each level doubles its length."""
_ENUMERATED_MAX: Final = 20

Match = Callable[[bytes], object]


def compiled(pattern: str) -> Match:
    """The test of whole records; true or false by the truth of what it returns."""
    return re.compile(pattern.encode("ascii"), re.DOTALL).fullmatch


def text(chars_min: int, chars_max: int, prefix: str = "") -> str:
    """Text of so many characters after an ASCII prefix without escapes; `chars_min` is at most 1.

    A character is one byte or more, and what is escaped is counted byte by byte: never fewer than it has characters.
    """
    bounds = f"{{{chars_min},{chars_max}}}+"
    return rf'"{re.escape(prefix)}(?:[^"\\]{bounds}"|(?:[^"\\]|\\.){bounds}")'


def constants(values: Iterable[str | int]) -> str:
    """One of some ASCII texts without escapes, or integers."""
    spelled = (str(value) if type(value) is int else f'"{re.escape(str(value))}"' for value in values)
    return f"(?:{'|'.join(spelled)})"


def integer(minimum: int, maximum: int) -> str:
    """An integer within bounds; near a bound that is no power of ten some are left to `check`."""
    if maximum - minimum <= _ENUMERATED_MAX:
        return constants(range(minimum, maximum + 1))
    if minimum > 1 or maximum < 1:
        return NEVER
    ways = [_up_to(maximum)]
    if minimum <= 0:
        ways.append("0")
    if minimum < 0:
        ways.append(f"-{_up_to(-minimum)}")
    return f"(?:{'|'.join(ways)})"


def _up_to(maximum: int) -> str:
    """1 to almost `maximum`: what has fewer digits, or as many and a smaller first one."""
    digits = str(maximum)
    first, rest = int(digits[0]), len(digits) - 1
    smaller = f"[1-{first - 1}][0-9]{{0,{rest}}}+" if first > 1 else NEVER
    return f"(?:{smaller}|[{first}-9][0-9]{{0,{rest - 1}}}+)" if rest else f"[1-{first}]"


def array(item: str, items_min: int, items_max: int) -> str:
    """A list of so many items."""
    items = f"{item}(?:,{item}){{{max(items_min - 1, 0)},{items_max - 1}}}+"
    return rf"\[(?:{items})?+\]" if items_min == 0 else rf"\[{items}\]"


def record(fields: Mapping[str, str], required: frozenset[str]) -> str:
    """A closed object: the pattern of each field by its name. Keys come sorted, so their order is known."""
    members = {name: f'"{re.escape(name)}":{fields[name]}' for name in sorted(fields)}
    if not required:
        return rf"\{{{_members(members.values())}\}}"
    first, pattern = min(required), ""
    for name, member in members.items():
        if name < first:
            pattern += f"(?:{member},)?+"
        elif name == first:
            pattern += member
        else:
            pattern += f",{member}" if name in required else f"(?:,{member})?+"
    return rf"\{{{pattern}\}}"


def _members(members: Iterable[str]) -> str:
    """Any of these, separated by commas; that none repeats is canonical form."""
    return rf"(?:(?:{'|'.join(members)})(?:,|(?=[\]}}])))*+"


def _free(depth: int) -> tuple[str, str]:
    key = rf'"[ !#-\[\]-~]{{0,{limits.KEY_CHARS_MAX}}}+"'  # printable ASCII; escaped ones are left to `check`
    scalar = rf'"(?:[^"\\]++|\\.)*+"|{integer(-limits.INTEGER_MAX, limits.INTEGER_MAX)}|true|false|null'
    if depth == 0:
        return f"(?:{scalar})", NEVER
    inner = _free(depth - 1)[0]
    members = rf"\{{{_members([f'{key}:{inner}'])}\}}"
    return rf"(?:{scalar}|\[{_members([inner])}\]|{members})", members


FREE, FREE_OBJECT = _free(_DEPTH)
"""Any value, and any object, of the canonical subset that is not nested deeper than `_DEPTH`."""
