"""Holds the canonical form against `rfc8785` on random documents, and counts what must be refused.

    python -m tests.oracles.canonical --documents 20000 --seed 1

Inside the subset the bytes equal those of the `rfc8785` package, and reading them gives the document back. Outside,
every spoiled document is refused when it is built, and every other spelling of one is refused when it is read.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from enum import IntEnum, StrEnum
from functools import partial
from typing import Final, TypeVar

import rfc8785

from scichain_wf import limits
from scichain_wf.errors import DecodeError
from scichain_wf.model import canonical
from scichain_wf.model.canonical import JsonObject, JsonValue

T = TypeVar("T")
BYTES_MAX: Final = 1 << 24
_PLANES: Final = ((0x00, 0x7F), (0x20, 0x7E), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF))


class Text(str):
    """A subclass of `str`."""

    __slots__ = ()


class Number(int):
    """A subclass of `int`."""


class Mapping(dict[str, object]):
    """A subclass of `dict`."""


class Sequence(list[object]):
    """A subclass of `list`."""


class Name(StrEnum):
    """Text as an enum."""

    ONE = "one"


class Level(IntEnum):
    """A number as an enum."""

    ONE = 1


def random_text(rng: random.Random, chars_max: int = 24) -> str:
    """Text over every plane of Unicode, without surrogates."""
    low, high = rng.choice(_PLANES)
    return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(0, chars_max)))


def random_integer(rng: random.Random) -> int:
    """An integer of the subset, its edges often."""
    edges = (0, 1, -1, limits.INTEGER_MAX, -limits.INTEGER_MAX)
    return rng.choice(edges) if rng.random() < 0.2 else rng.getrandbits(rng.randint(1, 53)) * rng.choice((1, -1))


def random_document(rng: random.Random, depth: int = 5) -> JsonValue:
    """A document of the subset."""
    kind = rng.randrange(6 if depth else 4)
    if kind == 0:
        return rng.choice((None, True, False))
    if kind == 1:
        return random_integer(rng)
    if kind in (2, 3):
        return random_text(rng)
    if kind == 4:
        return [random_document(rng, depth - 1) for _ in range(rng.randint(0, 5))]
    keys = ("".join(chr(rng.randint(0x20, 0x7E)) for _ in range(rng.randint(0, 8))) for _ in range(rng.randint(0, 6)))
    return {key: random_document(rng, depth - 1) for key in keys}


def nested(levels: int) -> object:
    """Lists inside each other."""
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def foreign_values() -> dict[str, object]:
    """What may stand nowhere in a document, each by name; built anew so that nobody shares one."""
    cyclic: list[object] = []
    cyclic.append(cyclic)
    return {
        "float": 1.5,
        "whole float": 1.0,
        "minus zero": -0.0,
        "NaN": float("nan"),
        "infinity": float("inf"),
        "2^53": 2**53,
        "-2^53": -(2**53),
        "2^64": 2**64,
        "an integer Python will not print": 10**5000,
        "lone high surrogate": "a\ud800",
        "lone low surrogate": "\udfffb",
        "subclass of str": Text("a"),
        "subclass of int": Number(1),
        "subclass of dict": Mapping(a=1),
        "subclass of list": Sequence([1]),
        "text enum": Name.ONE,
        "number enum": Level.ONE,
        "tuple": (1,),
        "bytes": b"a",
        "set": {1},
        "object": object(),
        "too deep": nested(limits.RECORD_DEPTH_MAX + 1),
        "cycle": cyclic,
        "non-ASCII key": {"é": 1},
        "control character in a key": {"a\n": 1},
        "surrogate in a key": {"\ud800": 1},
        "integer key": {1: 1},
        "boolean key": {True: 1},
        "null key": {None: 1},
        "key of a subclass": {Text("a"): 1},
        "long key": {"a" * (limits.KEY_CHARS_MAX + 1): 1},
    }


def spoiled(document: JsonValue, foreign: object, rng: random.Random) -> object:
    """The document with `foreign` somewhere inside."""
    if isinstance(document, list) and document and rng.random() < 0.7:
        place = rng.randrange(len(document))
        return [spoiled(item, foreign, rng) if i == place else item for i, item in enumerate(document)]
    if isinstance(document, dict) and document and rng.random() < 0.7:
        chosen = rng.choice(sorted(document))
        return {key: spoiled(item, foreign, rng) if key == chosen else item for key, item in document.items()}
    return foreign


def respellings() -> dict[str, Callable[[JsonObject], bytes]]:
    """Other JSON texts of the same (or nearly the same) object, each by name; the object has at least two keys."""

    def text(document: JsonObject, **options: object) -> str:
        settings = {"ensure_ascii": False, "sort_keys": True, "separators": (",", ":")} | options
        return json.dumps(document, **settings)  # type: ignore[arg-type]

    def with_member(literal: str) -> Callable[[JsonObject], bytes]:
        return lambda document: (text(document)[:-1] + ',"~~~~~~~~~":' + literal + "}").encode()

    members = {
        "minus zero": "-0",
        "exponent": "1e3",
        "fraction": "1.0",
        "float": "1.5",
        "2^53": "9007199254740992",
        "2^64": "18446744073709551616",
        "leading zero": "01",
        "leading plus": "+1",
        "NaN": "NaN",
        "infinity": "Infinity",
        "escaped letter": r'"\u0061"',
        "escaped non-ASCII letter": r'"\u00e9"',
        "escaped pair": r'"\ud83d\ude00"',
        "escaped lone surrogate": r'"\ud800"',
        "upper-case escape": r'"\u001F"',
        "long escape": r'"\u000a"',
        "escaped solidus": r'"\/"',
        "raw control character": '"\x01"',
        "single quotes": "'a'",
        "comment": "1/**/",
        "trailing comma": "[1,]",
        "too deep": "[" * limits.RECORD_DEPTH_MAX + "]" * limits.RECORD_DEPTH_MAX,
        "far too deep": "[" * 100_000 + "]" * 100_000,
        "non-ASCII key": '{"é":1}',
        "escaped key": r'{"\u0061":1}',
        "duplicate key, same value": '{"a":1,"a":1}',
        "duplicate key, other value": '{"a":1,"a":2}',
        "long key": '{"' + "a" * (limits.KEY_CHARS_MAX + 1) + '":1}',
    }
    return {name: with_member(literal) for name, literal in members.items()} | {
        "white space inside": lambda document: text(document, separators=(", ", ":")).encode(),
        "white space after colons": lambda document: text(document, separators=(",", ": ")).encode(),
        "indented": lambda document: text(document, indent=1).encode(),
        "newline at the end": lambda document: text(document).encode() + b"\n",
        "space before": lambda document: b" " + text(document).encode(),
        "byte order mark": lambda document: text(document).encode("utf-8-sig"),
        "UTF-16": lambda document: text(document).encode("utf-16"),
        "keys the other way round": lambda document: text(
            dict(sorted(document.items(), reverse=True)), sort_keys=False
        ).encode(),
        "cut": lambda document: text(document).encode()[:-1],
        "something after": lambda document: text(document).encode() + b"0",
        "invalid UTF-8": lambda document: text(document).encode()[:-1] + b',"~~~~~~~~~":"\xff"}',
        "overlong UTF-8": lambda document: text(document).encode()[:-1] + b',"~~~~~~~~~":"\xc0\x80"}',
        "surrogate in UTF-8": lambda document: text(document).encode()[:-1] + b',"~~~~~~~~~":"\xed\xa0\x80"}',
    }


def check_equal(document: JsonValue) -> None:
    """The bytes are those of `rfc8785`, and give the document back, from a buffer too."""
    data = canonical.encode(document)
    if data != rfc8785.dumps(document):
        raise AssertionError(f"differs from rfc8785: {document!r}")
    if canonical.decode(data, BYTES_MAX) != document or canonical.decode(memoryview(data), BYTES_MAX) != document:
        raise AssertionError(f"does not come back: {document!r}")


def check_refused(action: Callable[[], object], what: str) -> None:
    """The action raises `DecodeError`, and nothing else."""
    try:
        action()
    except DecodeError:
        return
    raise AssertionError(f"accepted: {what}")


def run(documents: int, seed: int) -> dict[str, int]:
    """Check that many documents; how many were equal, refused when built, refused when read, and kinds of each."""
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    built, read = _forever(foreign_values), _forever(respellings)
    for _ in range(documents):
        document = random_document(rng)
        check_equal(document)
        counts["equal"] += 1
        name, foreign = next(built)
        wrong = spoiled(document, foreign, rng)
        check_refused(partial(canonical.encode, wrong), name)
        counts["refused when built"] += 1
        name, respell = next(read)
        other = respell({"a": document, "b": random_text(rng)})
        check_refused(partial(canonical.decode, other, BYTES_MAX), name)
        counts["refused when read"] += 1
    return dict(counts)


def _forever(make: Callable[[], dict[str, T]]) -> Iterator[tuple[str, T]]:
    while True:
        yield from make().items()


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    counts = run(options.documents, options.seed)
    sys.stdout.write(
        f"canonical form: {counts['equal']} random documents equal rfc8785; refused when built: "
        f"{counts['refused when built']} of {len(foreign_values())} kinds; refused when read: "
        f"{counts['refused when read']} of {len(respellings())} kinds; seed {options.seed}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
