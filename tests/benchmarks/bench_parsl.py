"""What recording costs Parsl, and what NodeExecutor gives: tasks that do nothing, in alternating runs.

    python -m tests.benchmarks.bench_parsl
    python -m tests.benchmarks.bench_parsl --rounds 5 --no-logging --output docs/benchmarks/parsl.json

    htex-plain        HighThroughputExecutor
    htex-traced       the same, recorded
    htex-monitored    the same with Parsl's MonitoringHub, without resources
    nodes-plain       NodeExecutor, nothing recorded
    nodes-traced      the same, recorded: a node with an agent beside the service's own
    shim              what stands around each try where it runs: its own time, tasks one after another in a thread

A round runs each of them once, in an order that turns; what is compared are the runs of one round. *CPU* is that of all
processes of a run, of Parsl, workers, service and agents, from the first submission until two seconds after the last
result, when everything is committed. Each has two workers and has run tasks before. The targets (60-parsl): recording
takes 0.5 ms of CPU per task over HTEX alone, NodeExecutor with all of it runs 1.8 times the tasks of HTEX without, and
the shim takes 60 µs.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from scichain_wf.bench.result import Figure, Result, Target

MODES: Final = ("htex-plain", "htex-traced", "htex-monitored", "nodes-plain", "nodes-traced", "shim")
WORKERS: Final = 2
SETTLE_S: Final = 2.0
LATENCIES: Final = 50
_TIMEOUT_S: Final = 600
_SUBREAPER: Final = 36


def nothing() -> None:
    """What a task does."""


def play(mode: str, tasks: int, logging: bool) -> dict[str, float]:
    """One run in this process and the current directory."""
    import parsl
    from parsl import python_app
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.logconfigs.noop import NoopLogging
    from parsl.monitoring import MonitoringHub

    from scichain_parsl import NodeExecutor, scichain_config, traced

    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)  # what a provider starts stays ours to count
    settings: dict[str, Any] = {"usage_tracking": 0, "strategy_period": 0.2}
    if mode.startswith("htex"):
        htex: Any = HighThroughputExecutor("htex", address="127.0.0.1", max_workers_per_node=WORKERS, encrypted=True)
        settings["executors"] = [htex]
    else:
        settings["executors"] = [NodeExecutor("nodes", workers_per_node=WORKERS)]
    if mode.endswith("monitored"):
        settings["monitoring"] = MonitoringHub(resource_monitoring_enabled=False)
    if not logging:
        settings["initialize_logging"] = NoopLogging()
    recorded = mode.endswith("traced")
    app: Any = python_app(nothing)
    if recorded:
        app = traced(app)
    with parsl.load(scichain_config(**settings) if recorded else Config(**settings)):
        for future in [app() for _ in range(4 * WORKERS)]:
            future.result()
        latencies = [_timed(app) for _ in range(LATENCIES)]
        time.sleep(SETTLE_S)
        cpu_s, begun = _cpu_s(), time.perf_counter()
        for future in [app() for _ in range(tasks)]:
            future.result()
        wall_s = time.perf_counter() - begun
        time.sleep(SETTLE_S)
        cpu_s = _cpu_s() - cpu_s
    latency_ms = 1e3 * statistics.median(latencies)
    return {"tasks_per_s": tasks / wall_s, "cpu_ms": 1e3 * cpu_s / tasks, "latency_ms": latency_ms}


def shim(tasks: int) -> dict[str, float]:
    """What the shim takes of a try beyond the task, in this process."""
    import parsl
    from parsl import python_app
    from parsl.executors import ThreadPoolExecutor

    import scichain_parsl.shim as module
    from scichain_parsl import scichain_config, traced

    call, taken = module.call, []

    def timed(inner: Any, about: Any, args: Any, kwargs: Any) -> Any:
        begun, inside = time.perf_counter(), 0.0

        def task(*args: Any, **kwargs: Any) -> Any:
            nonlocal inside
            begun = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                inside = time.perf_counter() - begun

        try:
            return call(task, about, args, kwargs)
        finally:
            taken.append(time.perf_counter() - begun - inside)

    module.call = timed
    app: Any = traced(python_app(nothing))
    executor: Any = ThreadPoolExecutor("threads", max_threads=1)
    with parsl.load(scichain_config(executors=[executor], usage_tracking=0)):
        app().result()
        time.sleep(SETTLE_S)  # until somebody reads the outbox
        taken.clear()
        for _ in range(tasks):
            app().result()
    return {"shim_us": 1e6 * statistics.median(taken)}


def _timed(app: Any) -> float:
    begun = time.perf_counter()
    app().result()
    return time.perf_counter() - begun


def _cpu_s() -> float:
    """CPU of this process and all its descendants, those included that have ended."""
    parents, used = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            pid = int(path.parent.name)
            parents[pid], used[pid] = int(fields[1]), sum(int(number) for number in fields[11:15])
    ours = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= grown
    return sum(used.get(pid, 0) for pid in ours) / os.sysconf("SC_CLK_TCK")


def run(mode: str, tasks: int, logging: bool) -> dict[str, float]:
    """One run in a process and a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="sc-bench-") as base:
        beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        home = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"), base)
        root = str(Path(__file__).resolve().parents[2])
        found = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        program = "import sys; from tests.benchmarks import bench_parsl; bench_parsl.one(*sys.argv[1:])"
        done = subprocess.run(
            [sys.executable, "-c", program, mode, str(tasks), str(int(logging))],
            cwd=base,
            env=os.environ | home | {"PATH": beside, "PYTHONPATH": found},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    if done.returncode != 0 or ("traced" in mode and "check with" not in done.stderr):
        raise RuntimeError(f"{mode}: {done.stderr}")
    sample: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return sample


def one(mode: str, tasks: str, logging: str) -> None:
    """Entry of that process: prints what it found."""
    print(json.dumps(shim(int(tasks)) if mode == "shim" else play(mode, int(tasks), logging == "1")))


def figures(found: dict[str, list[dict[str, float]]]) -> list[Figure]:
    """Each mode's own figures, then those of pairs."""
    made = []
    for mode, samples in found.items():
        if mode == "shim":
            made.append(Figure("shim, median of a try", "µs", [sample["shim_us"] for sample in samples], (Target(60),)))
            continue
        for name, unit in (("tasks_per_s", "1/s"), ("cpu_ms", "ms"), ("latency_ms", "ms")):
            made.append(Figure(f"{mode}: {name}", unit, [sample[name] for sample in samples]))

    def pairs(one: str, other: str, name: str) -> list[tuple[float, float]]:
        return [(a[name], b[name]) for a, b in zip(found.get(one, []), found.get(other, []), strict=False)]

    more = [a - b for a, b in pairs("htex-traced", "htex-plain", "cpu_ms")]
    ratio = [a / b for a, b in pairs("nodes-traced", "htex-plain", "tasks_per_s")]
    if more:
        made.append(Figure("htex-traced over htex-plain, CPU per task", "ms", more, (Target(0.5),)))
    if ratio:
        made.append(Figure("nodes-traced over htex-plain, tasks per second", "", ratio, (Target(1.8, at_least=True),)))
    return made


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What recording costs Parsl, and what NodeExecutor gives.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=2_000)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--no-logging", action="store_true", help="Parsl's NoopLogging instead of its default")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in asked.modes}
    for turn in range(asked.rounds):
        at = turn % len(asked.modes)
        for mode in asked.modes[at:] + asked.modes[:at]:
            found[mode].append(run(mode, asked.tasks, not asked.no_logging))
        print(f"  round {turn + 1}: {json.dumps({mode: all_[-1] for mode, all_ in found.items()})}", file=sys.stderr)
    options = {"rounds": asked.rounds, "tasks": asked.tasks, "logging": not asked.no_logging}
    result = Result("parsl", options, tuple(figures(found)), (f"{WORKERS} workers; pairs of one round",))
    document = json.dumps(result.to_json(), indent=1)
    print(document)
    if asked.output is not None:
        asked.output.write_text(document + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
