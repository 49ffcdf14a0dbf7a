"""Hashing files, against `openssl dgst -sha256` on the same bytes in the same moment.

    python -m tests.benchmarks.bench_hash
    python -m tests.benchmarks.bench_hash --mib 1024 --pairs 9 --json hash.json

Two files on tmpfs, so that no disk is measured. Each pair is openssl on one of them, `hash_file` on the same, and both
files through `in_order`, in an order that changes from pair to pair. Printed: medians of the pairwise ratios of
throughput. The targets (80-performance) are 0.95 for one file and 1.8 for two on two cores. Where other work runs on
the machine, wall time says little of one file: its ratio by CPU time (user and system) says it then.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from scichain_wf import filehash


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of a call, its child processes included."""
    before, begun = os.times(), time.perf_counter()
    call()
    wall_s, after = time.perf_counter() - begun, os.times()
    return wall_s, sum(after[:4]) - sum(before[:4])


def openssl(path: Path) -> None:
    """The peer."""
    subprocess.run(["openssl", "dgst", "-sha256", path], stdout=subprocess.DEVNULL, check=True)


def two(paths: list[Path]) -> None:
    """Both at once, as the files of one task are hashed."""
    calls = ((path.stat().st_size, partial(filehash.hash_file, path)) for path in paths)
    if len(list(filehash.in_order(calls))) != len(paths):
        raise RuntimeError("not every file was hashed")


def main() -> int:
    """Measure, print, keep the samples if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mib", type=int, default=1_024, help="size of each file")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to put all samples")
    options = parser.parse_args()
    samples: dict[str, list[tuple[float, float]]] = {"openssl": [], "one": [], "two": []}
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="sc-") as base:
        paths = [Path(base, name) for name in "ab"]
        for path in paths:
            with path.open("wb") as file:
                for _ in range(options.mib):
                    file.write(os.urandom(1 << 20))
        cases: list[tuple[str, Callable[[], object]]] = [
            ("openssl", lambda: openssl(paths[0])),
            ("one", lambda: filehash.hash_file(paths[0])),
            ("two", lambda: two(paths)),
        ]
        for pair in range(options.pairs):
            for name, call in cases[pair % 3 :] + cases[: pair % 3]:
                samples[name].append(timed(call))
    for name, files in (("one", 1), ("two", 2)):
        pairs = list(zip(samples["openssl"], samples[name], strict=True))
        wall, cpu = ([files * peer[i] / ours[i] for peer, ours in pairs] for i in (0, 1))
        mib_per_s = files * options.mib / statistics.median(ours[0] for _, ours in pairs)
        print(
            f"{files} of {options.mib} MiB: {mib_per_s:6.0f} MiB/s, x openssl on one: {statistics.median(wall):.2f} "
            f"(by CPU time {statistics.median(cpu):.2f})"
        )
    if options.json is not None:
        options.json.write_text(json.dumps({"python": sys.version, "cpus": os.cpu_count(), "samples_s": samples}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
