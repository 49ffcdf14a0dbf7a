"""What a NodeExecutor has to get over: `python parsl_nodes.py SCENE ...` prints what became of tasks."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import parsl
from parsl import bash_app, python_app
from parsl.config import Config
from parsl.launchers import WrappedLauncher
from parsl.providers import LocalProvider

from scichain_parsl import NodeExecutor, scichain_config, traced
from scichain_wf.errors import ConfigError


@traced
@python_app
def ids(seconds: float = 0.0) -> list[int]:
    """The pids of a worker, its nursery and its node."""
    import os
    import time
    from pathlib import Path

    time.sleep(seconds)
    node = int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])
    return [os.getpid(), os.getppid(), node]


@traced
@python_app
def threads(pids: list[int]) -> list[str]:
    """The names of all threads of these processes."""
    from pathlib import Path

    return sorted({path.read_text().strip() for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/comm")})


@traced
@python_app
def twice(data: bytes) -> bytes:
    return data + data


@traced
@python_app
def unpicklable() -> Any:
    return (number for number in [1])


@traced
@python_app
def raises_unpicklable() -> None:
    error = ValueError("odd")
    error.reason = (number for number in [1])  # type: ignore[attr-defined]
    raise error


@traced
@python_app
def exits() -> None:
    raise SystemExit(4)


@traced
@python_app
def dies(marker: str) -> str:
    """Kill the worker the first time."""
    import os
    import signal
    from pathlib import Path

    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


@traced
@bash_app
def writes(number: int, outputs: Any = ()) -> str:
    return f"sleep 0.05; echo {number} > {outputs[0]}"


def doubled(number: int) -> int:
    return number * 2


plain: Any = python_app(doubled)


def executor(label: str = "nodes", blocks: int = 1, **more: Any) -> NodeExecutor:
    """Blocks of one node each on this host."""
    provider: Any = LocalProvider(  # type: ignore[no-untyped-call]
        init_blocks=blocks, min_blocks=blocks, max_blocks=blocks
    )
    return NodeExecutor(label, provider, workers_per_node=2, **more)


def config(*executors: NodeExecutor, recorded: bool = True, retries: int = 0, **more: Any) -> Config:
    """Parsl's, that looks after its blocks often."""
    settings: dict[str, Any] = {"executors": list(executors), "retries": retries, "usage_tracking": 0}
    settings |= {"strategy_period": 0.2} | more
    return scichain_config(**settings) if recorded else Config(**settings)


def came_to(future: Any) -> Any:
    """A result, or what was raised."""
    try:
        return future.result(timeout=60)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test compares it
        return f"{type(error).__name__}: {error}"


def until_ready(nodes: NodeExecutor, number: int) -> None:
    """So many nodes take tasks."""
    deadline = time.monotonic() + 60
    while sum(node.workers > 0 for node in nodes._nodes()) < number:
        assert time.monotonic() < deadline, "the nodes did not get ready"
        time.sleep(0.05)


@traced
@python_app
def tails(below: str) -> list[list[int]]:
    """Inode numbers of the files of tails in a directory, and those of its files that processes here have mapped."""
    from pathlib import Path

    files = {path.stat().st_ino for path in Path(below).glob("scichain-*/*/tail-*/*.mdb")}
    mapped = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            lines = maps.read_text().splitlines()
        except OSError:
            continue  # ended
        mapped |= {int(line.split()[4]) for line in lines if below in line}
    return [sorted(files), sorted(mapped)]


def trouble() -> dict[str, Any]:
    """Tasks that cannot be loaded, do not come back, or take the worker with them."""
    sys.path.insert(0, str(Path.cwd()))
    Path("only_here.py").write_text("def there() -> None: ...\n", encoding="utf-8")
    import only_here  # type: ignore[import-not-found]

    below = Path.cwd() / "tails"
    below.mkdir()
    with parsl.load(config(executor(prefetch=1, tail_dir=str(below)), retries=1)):
        return {
            "tails": came_to(tails(str(below))),
            "unpicklable": came_to(unpicklable()),
            "odd": came_to(raises_unpicklable()),
            "exits": came_to(exits()),
            "missing": came_to(traced(python_app(only_here.there))()),
            "dies": came_to(dies(str(Path.cwd() / "marker"))),
            "big": len(came_to(twice(b"x" * (9 << 20)))),
            "threads": came_to(threads(came_to(ids()))),
        }


def blocks() -> dict[str, Any]:
    """Two blocks: the node of one and what forks the workers of the other are killed while tasks run."""
    here = Path.cwd()
    with parsl.load(config(executor(blocks=2, block_error_handler=False), retries=3)) as kernel:
        until_ready(kernel.executors["nodes"], 2)
        nursery_of = {node: nursery for _, nursery, node in map(came_to, [ids(0.2) for _ in range(8)])}
        first = set(nursery_of)
        futures = [writes(number, outputs=[parsl.File(str(here / f"{number}.txt"))]) for number in range(60)]
        wait(futures[:10])
        os.kill(min(first), signal.SIGKILL)
        wait(futures[:20])
        os.kill(nursery_of[max(first)], signal.SIGKILL)
        results = [came_to(future) for future in futures]
        last = set(first)
        while last <= first:  # Parsl starts a block anew while there are tasks for it
            last = {came_to(future)[2] for future in [ids(0.2) for _ in range(16)]}
    written = [(here / f"{number}.txt").read_text(encoding="utf-8").strip() for number in range(60)]
    return {"first": len(first), "new": len(last - first), "results": results, "written": written}


def without_shm() -> dict[str, Any]:
    """The node's host has a `/dev/shm` in which nothing can be made."""
    alone = "unshare --mount sh -c 'mount -t tmpfs -o ro none /dev/shm && exec \"$@\"' sh"
    nodes: Any = executor()
    nodes.provider.launcher = WrappedLauncher(prepend=alone)
    with parsl.load(config(nodes)):
        return {"results": [came_to(future) for future in [twice(b"x") for _ in range(3)]] == [b"xx"] * 3}


def two() -> dict[str, Any]:
    """Two kernels in one process, one after the other has ended, and an executor that records nothing."""
    one = parsl.dataflow.dflow.DataFlowKernel(config(executor("one"), run_dir="one"))
    other = parsl.dataflow.dflow.DataFlowKernel(config(executor("other"), recorded=False, run_dir="other"))
    on: Any = lambda kernel: python_app(doubled, data_flow_kernel=kernel)  # noqa: E731
    results = [came_to(future) for future in (on(one)(1), on(other)(2))]
    one.cleanup()
    after = came_to(on(other)(3))
    other.cleanup()
    return {"results": results, "after": after}


def refused() -> dict[str, Any]:
    """No block comes up; and what is asked of it makes no sense."""
    with parsl.load(config(executor(python="/bin/false"), retries=1)):
        specified = plain(1, parsl_resource_specification={"a": 1})
        found = {"no node": came_to(ids()), "specification": came_to(specified)}
        nodes = parsl.dfk().executors["nodes"]
    try:
        parsl.load(Config(executors=[nodes], usage_tracking=0))
    except ConfigError as error:
        found["again"] = str(error)
    return found


def drained() -> dict[str, Any]:
    """One of two blocks is scaled in while it has tasks: none of them is lost, and none is run again."""
    with parsl.load(config(executor(blocks=2, prefetch=4, agents=0), recorded=False, strategy="none")) as kernel:
        nodes = kernel.executors["nodes"]
        until_ready(nodes, 2)
        futures = [ids(0.3) for _ in range(16)]
        wait(futures[:4])
        ended = nodes.scale_in_facade(1)
        results = [came_to(future) for future in futures]
        left = sorted({node.block for node in nodes._nodes()})
    return {"ended": ended, "left": left, "lost": [result for result in results if isinstance(result, str)]}


if __name__ == "__main__":
    print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}, sort_keys=True))
