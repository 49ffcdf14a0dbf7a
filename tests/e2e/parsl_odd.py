"""Tasks, values and errors that are odd: `python parsl_odd.py EXECUTOR [plain]` prints what each came to."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import parsl
from parsl import File, python_app

from scichain_parsl import traced

sys.path.insert(0, str(Path(__file__).parent))  # safe mode leaves it out
configuration: Any = import_module("parsl_program").configuration


class Unsayable(Exception):
    """Without words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(name)


class Odd:
    """Says nothing of itself."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = object.__hash__


@traced
@python_app(cache=True)
def fails(number: int) -> None:
    raise Unsayable


@traced
@python_app
def takes(*values: Any, token: Any = None) -> int:
    return len(values)


@traced
@python_app
def reads_long(file: Any, walltime: float = 0.2) -> str:
    """A file that takes longer to read than the task has time."""
    import time

    for _ in range(100):
        time.sleep(0.05)
    return "nothing ended it"


def version() -> int:
    return 1


before: Any = traced(python_app(version, cache=True))


def version() -> int:  # type: ignore[no-redef]
    return 2


after: Any = traced(python_app(version, cache=True))


def came_to(future: Any) -> Any:
    """A result, or the class of what was raised."""
    error = future.exception(timeout=60)
    return future.result() if error is None else type(error).__name__


def main() -> None:
    """Run everything."""
    long = Path.cwd() / "long"
    with long.open("wb") as file:
        file.truncate(4 << 30)
    endless: list[Any] = []
    endless += [endless] * 9
    recorded = "plain" not in sys.argv
    with parsl.load(configuration(sys.argv[1], recorded, **{"same_code": True} if recorded else {})):
        results = {
            "versions": [came_to(app()) for app in (before, before, after, after)],
            "fails": came_to(fails(1)),
            "again": came_to(fails(1)),
            "odd": came_to(takes(Odd(), {Odd()}, {Odd(): 1}, token=Odd())),
            "endless": came_to(takes(endless)),
            "nowhere": came_to(takes({"file": File("http://127.0.0.1:1/nowhere")})),
            "long": came_to(reads_long(File(str(long)))),
        }
    print(json.dumps(results))


if __name__ == "__main__":
    main()
