"""Which files and values a call of an app has, and what they are called. Knows how Parsl spells them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from scichain_wf import limits

CONTEXT: Final = "_scichain"
"""The keyword in which a try gets its `Context`; where no run is recorded it holds the `App` as a text, since a worker
may lack this package."""
Context = tuple[str, bool, bytes, bytes]
"""What the app is, whether the run is strict, what all tries of the run are told, and what this one is: pickled.

Parsl's serialiser takes as long for one object of a call as this takes for everything, and holds a lock meanwhile."""
NOT_BEGUN: Final = "_scichain_not_begun"
"""An attribute of exceptions of tries that no worker could load, and hence not record."""
_RESERVED: Final = {"outputs", "stdout", "stderr", "walltime", "parsl_resource_specification", CONTEXT}
_DEPTH_MAX: Final = 8
_VALUE_BYTES_MAX: Final = 64 << 20


class App(NamedTuple):
    """What a traced app is.

    Attributes:
        kind: `python`, `bash` or `join`.
        code: SHA-256 of its source in hex; empty if it is not known.
    """

    kind: str
    code: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.code}"


def key_of(name: str, task_id: int) -> str:
    """The task key: an app's name, and Parsl's number of the task within its run."""
    from scichain_wf.hooks.records import task_key

    return task_key(name, {"id": str(task_id)})


def app_of(kwargs: Mapping[str, Any]) -> App:
    """What the app of a call is; empty where it is not traced."""
    context = kwargs.get(CONTEXT)
    kind, _, code = str(context[0] if isinstance(context, tuple) else context or "").partition(":")
    return App(kind, code)


def reads(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(role, file) of every `File` among the arguments of a call, lists and mappings included."""
    seen: set[int] = set()
    for index, value in enumerate(args):
        yield from _files(f"args[{index}]", value, _DEPTH_MAX, seen)
    for name, value in kwargs.items():
        if name not in _RESERVED:
            yield from _files(name, value, _DEPTH_MAX, seen)


def writes(kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(role, file or path) of what a call declares to write."""
    yield from _files("outputs", list(kwargs.get("outputs") or ()), _DEPTH_MAX, set())
    for name in ("stdout", "stderr"):
        spec = kwargs.get(name)
        path = spec[0] if isinstance(spec, tuple) and spec else spec
        if path is not None and not isinstance(path, int):
            yield name, path


def values(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(role, value) of every argument that a future can stand for, in Parsl's own order of looking for them."""
    yield from ((f"args[{index}]", value) for index, value in enumerate(args))
    yield from ((name, value) for name, value in kwargs.items() if name not in _RESERVED | {"inputs"})
    yield from ((f"inputs[{index}]", value) for index, value in enumerate(kwargs.get("inputs") or ()))


def free(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, object]:
    """What else the result depends on, for the record."""
    seen: set[int] = set()
    shown: dict[str, object] = {} if not args else {"args": [_shown(value, seen) for value in args]}
    shown.update((name, _shown(value, seen)) for name, value in kwargs.items() if name not in _RESERVED | {"inputs"})
    return shown


def path_of(file: Any) -> str:
    """Where a `File`, or a path given for one, is on this host.

    Raises:
        ValueError: nowhere: Parsl did not stage it.
    """
    return str(file.filepath) if _is_file(file) else str(file)


def remote_uri(file: Any) -> str | None:
    """What a staged `File` is called in the store it came from; None for a local one."""
    if not _is_file(file) or file.scheme == "file":
        return None
    from scichain_wf.errors import DecodeError
    from scichain_wf.model.uri import parse

    try:
        parse(str(file.url))
    except DecodeError:
        return None
    return str(file.url)


def value_digest(value: Any) -> tuple[bytes, int] | None:
    """SHA-256 and length of a value's one spelling as JSON; None where it has none.

    A pickle is no spelling: it differs between processes for equal values.
    """
    import orjson

    try:
        data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS)
    except TypeError:
        return None
    return (hashlib.sha256(data).digest(), len(data)) if len(data) <= _VALUE_BYTES_MAX else None


def _files(role: str, value: Any, depth: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """`seen`: ids of what was gone through, since values may hold themselves."""
    if _is_file(value):
        yield role, value
    elif depth and isinstance(value, list | tuple | Mapping) and id(value) not in seen:
        seen.add(id(value))
        for name, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _files(f"{role}[{_name(name)}]", item, depth - 1, seen)


def _shown(value: Any, seen: set[int]) -> object:
    if _is_file(value):
        return str(value.url)
    if isinstance(value, list | tuple) and id(value) not in seen:
        seen.add(id(value))
        return [_shown(item, seen) for item in value[: limits.FREE_VALUES_MAX + 1]]
    return value


def _name(key: object) -> str:
    try:
        return str(key)
    except Exception:  # noqa: BLE001 - the user's own class
        return type(key).__name__


def _is_file(value: Any) -> bool:
    from parsl.data_provider.files import File

    return isinstance(value, File)
