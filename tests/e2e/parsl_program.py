"""A Parsl program with every kind of task: `python parsl_program.py EXECUTOR [plain]` prints what each came to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import parsl
from parsl import File, bash_app, join_app, python_app
from parsl.config import Config
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.launchers import SingleNodeLauncher
from parsl.providers import LocalProvider

from scichain_parsl import AgentLauncher, NodeExecutor, scichain_config, traced

TAILS = "tails"


@traced
@bash_app
def write(text: str, outputs: Any = (), stdout: Any = None, stderr: Any = None) -> str:
    return f"echo {text} | tee {outputs[0]}"


@traced
@bash_app
def ends_with(code: int) -> str:
    return f"exit {code}"


@traced
@python_app
def count(files: dict[str, list[Any]], inputs: Any = ()) -> dict[str, int]:
    from pathlib import Path

    named = [file for group in files.values() for file in group]
    return {"bytes": sum(Path(file.filepath).stat().st_size for file in [*named, *inputs])}


@traced
@python_app
def double(counted: dict[str, int]) -> float:
    return counted["bytes"] * 2.0


@traced
@python_app(cache=True)
def add(number: int, more: int = 1) -> int:
    return number + more


@traced
@python_app
def second_time(marker: str) -> str:
    from pathlib import Path

    if not Path(marker).exists():
        Path(marker).touch()
        raise ValueError("not yet")
    return "there"


@traced
@python_app
def never(number: int) -> dict[str, int]:
    raise RuntimeError(f"no {number}")


@traced
@python_app
def slow(walltime: float = 0.2) -> None:
    import time

    while True:
        time.sleep(0.01)


@traced
@join_app
def joined(number: int) -> Any:
    return [add(number), add(number, more=2)]


@python_app
def untraced(number: int) -> int:
    return number


def configuration(executor: str, recorded: bool, **more: Any) -> Config:
    """For one of the executors."""
    label = "of-the-test"
    if executor == "threads":
        chosen: Any = ThreadPoolExecutor(label=label, max_threads=2)
    elif executor == "nodes":
        provider = LocalProvider(init_blocks=1, max_blocks=1)  # type: ignore[no-untyped-call]
        chosen = NodeExecutor(label, provider, workers_per_node=2)
    else:
        provider = LocalProvider(launcher=AgentLauncher(SingleNodeLauncher(), tail_dir=TAILS))  # type: ignore[no-untyped-call]
        settings: dict[str, Any] = {"max_workers_per_node": 2, "encrypted": False, "provider": provider}
        chosen = HighThroughputExecutor(label=label, address="127.0.0.1", **settings)
    settings = {"executors": [chosen], "retries": 1, "usage_tracking": 0, "strategy_period": 0.5, **more}
    return scichain_config(**settings) if recorded else Config(**settings)


def came_to(future: Any) -> object:
    """A result, or the name of what was raised."""
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 - whatever it is, the test compares it
        return type(error).__name__


def main() -> None:
    """Run everything."""
    here = Path.cwd()
    Path(TAILS).mkdir(exist_ok=True)
    Path("given.txt").write_text("given\n", encoding="utf-8")
    with parsl.load(configuration(sys.argv[1], recorded="plain" not in sys.argv)):
        wrote = write("hello", outputs=[File(str(here / "out.txt"))], stdout=str(here / "log.txt"))
        counted = count({"group": [File(str(here / "given.txt"))]}, inputs=[wrote.outputs[0]])
        futures = {
            "wrote": wrote,
            "exit": ends_with(3),
            "doubled": double(counted),
            "retried": second_time(str(here / "marker")),
            "failed": (failed := never(1)),
            "depends": double(failed),
            "first": add(1),
            "joined": joined(10),
            "slow": slow(),
            "untraced": untraced(7),
        }
        results = {name: came_to(future) for name, future in futures.items()}
        results["again"] = came_to(add(1))
        results["of again"] = came_to(add(add(1), more=5))
        for tail in here.glob(f"{TAILS}/scichain-*/*/tail-*/*.mdb"):
            print(f"a tail: {tail}", file=sys.stderr)
    print(json.dumps(results, sort_keys=True))


if __name__ == "__main__":
    main()
