"""Memory of a running chain while it grows: storage and agents, from 10^4 transactions on.

    python -m tests.benchmarks.bench_memory --transactions 1000000 --json memory.json

A service of real processes takes what hook processes emit, mark after mark (10,000, 30,000, 100,000, ...); at each mark
everything is committed, and RssAnon of each process is read: what it allocated, without mapped files (an agent's tail
is a file on tmpfs, counted apart). The targets (80-performance): an agent at most 80 MiB beside its tail, storage flat.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from scichain_wf.bench import load
from scichain_wf.bench.measure import rss_anon_mib
from scichain_wf.bench.result import machine
from scichain_wf.hooks.recorder import new_run_id
from scichain_wf.node import shm

FLUSH_S = 3_600.0
HOOKS = 2


def marks(most: int) -> list[int]:
    """10,000, 30,000, 100,000, ... and at last `most`."""
    steps = [base * 10**power for power in range(4, 10) for base in (1, 3)]
    return [step for step in steps if step < most] + [most]


def main() -> int:
    """Grow, print, keep the samples if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--transactions", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--per-run", type=int, default=10_000, help="emitted before each flush")
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, float]] = []
    with load.service(options.nodes, options.directory) as (service, _):
        done, begun = 0, time.monotonic()
        for mark in marks(options.transactions):
            while done < mark:
                count, run = min(options.per_run, mark - done), new_run_id()
                load.Hooks(service, run, HOOKS, count, seed=done).go()
                summary = service.flush(run, timeout_s=FLUSH_S)
                if summary.tasks != count:
                    raise RuntimeError(f"{summary.tasks} of {count} are on the chain")
                done += count
            tails = (shm.tail_directory(service.chain, slot) for slot in range(1, options.nodes + 1))
            row = {name: rss_anon_mib(pid) for name, pid in service.pids.items()}
            row |= {"tail": max((tail / "data.mdb").stat().st_blocks / 2_048 for tail in tails)}
            row |= {"transactions": mark, "s": time.monotonic() - begun}
            rows.append(row)
            print("  ".join(f"{name} {value:,.1f}" for name, value in row.items()), flush=True)
            if options.json is not None:
                options.json.write_text(json.dumps({"machine": machine(), "mib": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
