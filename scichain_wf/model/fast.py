r"""A schema as one regular expression over canonical bytes: what makes bulk verification fast.

`schema.Field.check` says exactly what is wrong, at the price of a call per value. Nearly every record is right, though,
and the canonical spellings of a closed schema are all but a regular language. So `Field.regex` renders each field as a
pattern, and one match of a whole record, in C, tells that `canonical.parse` would accept the bytes and `check` the
value. A match saves `check` and spelling the value once more; no match decides nothing, those two do.

So a pattern never matches what either refuses: it spells members in order and once each, text with the one escape that
each character has, numbers without sign or zeros in front. It may refuse what fits, for instance free values nested
very deep (tests hold one against the other). Two things are no regular language and are looked at after a match: that
bytes are UTF-8, and the spelling of free values, whose keys nobody knows before.

Where patterns count characters they count bytes or more. A repetition never gives back what it took: a value has one
way to match, so there is nothing to come back for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from scichain_wf import limits
from scichain_wf.model import canonical

NEVER: Final = r"(?!)"
"""Matches nothing: for what is left to `check`."""

_DEPTH: Final = 3
"""Levels of lists and objects in a free value that are worth a pattern; each level doubles its length."""
_ENUMERATED_MAX: Final = 20

Match = Callable[[bytes], "re.Match[bytes] | None"]

_SEVERAL: Final = b","
"""Without one, no object of a free value has two keys, and the pattern has seen everything but the order of keys."""
_GROUP: Final = "(?P<"
_FREE: Final = "free_"
_POSSESSIVE: Final = re.match("(?:ab?c)*+", "aca").end() == 2  # type: ignore[union-attr]
"""Whether possessive groups work: Python before 3.11.5 keeps half of a repetition that failed (CPython gh-106052)."""
_PLAIN: Final = r'[^"\\\x00-\x1f]'
_ESCAPE: Final = r'\\(?:["\\bfnrt]|u00(?:0[0-7bef]|1[0-9a-f]))'  # of what cannot stand for itself, its one spelling


class Pattern:
    """The test of whole records, from the pattern of one."""

    def __init__(self, pattern: str) -> None:
        compiled = re.compile(pattern.encode("ascii"), re.DOTALL)
        self._fullmatch: Final = compiled.fullmatch
        self._free: Final = [number for name, number in compiled.groupindex.items() if name.startswith(_FREE)]

    def match(self, data: bytes) -> re.Match[bytes] | None:
        """A match if `data` surely is a record in canonical form; what is `taken` from it are its groups."""
        found = self._fullmatch(data)
        if found is None or not (data.isascii() or _is_utf8(data)):
            return None
        for number in self._free:
            value = found[number]
            if value is not None and _SEVERAL in value and not canonical.is_spelled(value):
                return None
        return found


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def taken(name: str, pattern: str) -> str:
    """A pattern whose text a match hands out. A group sees only the last round of a repetition: not for `array`."""
    return f"{_GROUP}{name}>{pattern})"


def free(name: str, pattern: str) -> str:
    """A pattern that leaves the spelling of what it matches to `Pattern`; the name is unique in its record."""
    return taken(_FREE + name, pattern)


def repeated(group: str, times: str) -> str:
    """A pattern in parentheses so many times (`?`, `*`, `{1,3}`), without coming back for fewer."""
    return f"{group}{times}+" if _POSSESSIVE else f"(?>{group}{times})"


def text(chars_min: int, chars_max: int, prefix: str = "") -> str:
    """Text of so many characters after an ASCII prefix without escapes; `chars_min` is at most 1.

    A character is one byte or more, and what is escaped is counted byte by byte: never fewer than it has characters.
    """
    bounds = f"{{{chars_min},{chars_max}}}"
    escaped = repeated(f"(?:{_PLAIN}|{_ESCAPE})", bounds)
    return f'"{re.escape(prefix)}(?:{_PLAIN}{bounds}+"|{escaped}")'


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
    if _GROUP in item:
        return NEVER
    items = item + repeated(f"(?:,{item})", f"{{{max(items_min - 1, 0)},{items_max - 1}}}")
    if items_min == 0:
        items = repeated(f"(?:{items})", "?")
    return rf"\[{items}\]"


def record(fields: Mapping[str, str], required: frozenset[str]) -> str:
    """A closed object: the pattern of each field by its name. Keys come sorted, so their order is known."""
    members = {name: f'"{re.escape(name)}":{fields[name]}' for name in sorted(fields)}
    if not required:
        optional = (_maybe(member + r"(?:,(?!\})|(?=\}))") for member in members.values())
        return rf"\{{{''.join(optional)}\}}"
    first, pattern = min(required), ""
    for name, member in members.items():
        if name < first:
            pattern += _maybe(f"{member},")
        elif name == first:
            pattern += member
        else:
            pattern += f",{member}" if name in required else _maybe(f",{member}")
    return rf"\{{{pattern}\}}"


def _maybe(pattern: str) -> str:
    """Once or not at all; around a group with a plain `?`, for the sake of the same old Pythons."""
    return f"(?:{pattern})?" if _GROUP in pattern else repeated(f"(?:{pattern})", "?")


def _members(members: str) -> str:
    """Any number of these, separated by commas more or less: the spelling of free values is looked at later."""
    return repeated(rf"(?:{members}(?:,|(?=[\]}}])))", "*")


def _free(depth: int) -> tuple[str, str]:
    key = rf'"[ !#-\[\]-~]{{0,{limits.KEY_CHARS_MAX}}}+"'  # printable ASCII; escaped ones are left to `check`
    words = repeated(rf"(?:{_PLAIN}++|{_ESCAPE})", "*")
    scalar = rf'"{words}"|{integer(-limits.INTEGER_MAX, limits.INTEGER_MAX)}|true|false|null'
    if depth == 0:
        return f"(?:{scalar})", NEVER
    inner = _free(depth - 1)[0]
    members = rf"\{{{_members(f'{key}:{inner}')}\}}"
    return rf"(?:{scalar}|\[{_members(inner)}\]|{members})", members


FREE, FREE_OBJECT = _free(_DEPTH)
"""Any value, and any object, of the canonical subset that is not nested deeper than `_DEPTH`."""
