"""Verification: a whole chain in full, and one file.

    python -m tests.benchmarks.bench_verify --transactions 100000
    python -m tests.benchmarks.bench_verify --transactions 1000000 --jobs 2

Machines differ and drift, so each figure comes with the *floor* measured on the same bytes in the same run: parsing
(orjson), spelling again and one SHA-256 per transaction. On the design's reference machine the floor of 1 KB is 6.6 µs,
and the target of 40,000 transactions per second and core (25 µs each) is 3.8 times that. "CPU" is the processor time of
the one process that checks everything; "wall" is `verify_chain` as users call it, with its child processes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import orjson

from scichain_wf import audit
from scichain_wf.audit.chain import verify_on
from scichain_wf.ledger import rawread
from scichain_wf.ledger.isolate import Inline, Pool, result
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.model.block import BlockFrame
from tests.benchmarks.generate import generate_chain

TARGET_RATIO = 25 / 6.6
_SAMPLED_BLOCKS = 20


def floor_us(layout: ChainLayout) -> float:
    """CPU time to parse, spell and hash one transaction of the chain, in µs; the best of five."""
    ledger = rawread.RawLedger(layout.live_ledger())
    data: list[bytes] = []
    for height in range(3, 3 + _SAMPLED_BLOCKS):
        stored = ledger.block(height)
        if stored is not None:
            frame = BlockFrame.of(stored)
            data += [frame.transaction(index) for index in range(frame.count)]
    ledger.close()
    best = float("inf")
    for _ in range(5):
        begun = time.process_time()
        for item in data:
            orjson.dumps(orjson.loads(item), option=orjson.OPT_SORT_KEYS)
            hashlib.sha256(item).digest()
        best = min(best, time.process_time() - begun)
    return 1e6 * best / len(data)


def cpu_us(layout: ChainLayout, transactions: int) -> float:
    """CPU time of the full verification per transaction, in µs, in one process."""
    begun = time.process_time()
    found = verify_on(Inline(), layout, layout.live_ledger(), None, None)
    spent = time.process_time() - begun
    rawread.release()
    if found.exit_code:
        raise SystemExit(found.sentence())
    return 1e6 * spent / transactions


def anonymous_kib(jobs: int, layout: ChainLayout) -> int:
    """Anonymous memory of a child that has verified its share of the chain, in KiB."""
    with Pool(jobs) as pool:
        verify_on(pool, layout, layout.live_ledger(), None, None)
        return result(pool, _rss_anon_kib)


def _rss_anon_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0])


def artifact_ms(layout: ChainLayout, path: Path, number: int = 30) -> list[float]:
    """Times of `verify_artifact`, child process and proof included."""
    times = []
    for _ in range(number):
        begun = time.perf_counter()
        found = audit.verify_artifact(layout.root, path, roots={"00112233445566aa": path.parent.parent})
        times.append(1e3 * (time.perf_counter() - begun))
        if found.files[0].state is not audit.FileState.CHANGED:
            raise SystemExit(found.sentence())
    return times


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--transactions", type=int, default=100_000)
    parser.add_argument("--per-block", type=int, default=500)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scichain-bench-") as name:
        layout = ChainLayout(Path(name) / "chain")
        generate_chain(layout.root, options.transactions, options.per_block, options.slots, options.seed)
        floor = floor_us(layout)
        cpu = cpu_us(layout, options.transactions)
        begun = time.perf_counter()
        audit.verify_chain(layout.root, jobs=options.jobs)
        wall = time.perf_counter() - begun
        memory = anonymous_kib(options.jobs, layout)
        made = Path(name) / "work" / "out" / f"{options.transactions // 2:08x}.bam"
        made.parent.mkdir(parents=True)
        made.write_bytes(b"not what was recorded")
        times = artifact_ms(layout, made)
    figures = {
        "transactions": options.transactions,
        "per_block": options.per_block,
        "slots": options.slots,
        "seed": options.seed,
        "python": sys.version.split()[0],
        "floor_us": round(floor, 2),
        "cpu_us": round(cpu, 2),
        "per_core_per_s": round(1e6 / cpu),
        "ratio_to_floor": round(cpu / floor, 2),
        "ratio_allowed": round(TARGET_RATIO, 2),
        "jobs": options.jobs,
        "wall_s": round(wall, 2),
        "wall_per_s": round(options.transactions / wall),
        "child_rss_anon_mib": round(memory / 1024, 1),
        "parent_maxrss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "one_file_ms_median": round(statistics.median(times), 1),
        "one_file_ms_max": round(max(times), 1),
    }
    for figure, value in figures.items():
        print(f"{figure:<20} {value}")
    if options.json:
        options.json.write_text(json.dumps({**figures, "one_file_ms": times}, indent=1) + "\n")


if __name__ == "__main__":
    main()
