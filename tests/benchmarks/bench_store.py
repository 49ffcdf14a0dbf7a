"""Storage-side append: from a block's bytes on the wire to its fsynced link, all indexes included.

    python -m tests.benchmarks.bench_store --transactions 1000000
    python -m tests.benchmarks.bench_store --transactions 1000000 --per-block 12 --blocks-per-commit 64

Machines differ and drift, so each figure comes with the *floor* measured on the same bytes in the same moment: parsing
(orjson), spelling them again and one SHA-256. On the design's reference machine the floor of 1 KB is 6.6 µs, and the
target of 40,000 transactions per second (25 µs each) is 3.8 times that. Printed per window, of wall and CPU time: from
ready blocks (parsed before: append, indexes, commit, fsync), and from bytes (splitting and parsing included); then the
floor, the ratio of the CPU time from bytes to it, RssAnon, size of the file. At the end: the cost at the last window
against the first, and the time of an inclusion proof (transaction in its block, link in the tree) at random places.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from scichain_wf.crypto import merkle
from scichain_wf.ledger.layout import DATA_FILE
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.block import Block, BlockFrame
from tests.benchmarks.generate import Ready, append, groups, start

FLOOR_US_PER_KIB = 6.6
TARGET_PER_S = 40_000
WINDOW = 10_000
_SAMPLED = 2


@dataclass
class Window:
    """What appending each of the transactions up to `until` cost."""

    until: int
    ready_wall_us: float
    ready_cpu_us: float
    wall_us: float
    cpu_us: float
    floor_us: float
    ratio: float
    rss_anon_kib: int
    file_mib: float


def rss_anon_kib() -> int:
    """Anonymous memory of this process: what it allocated, without the mapped file."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0])


def floor_s(group: list[Ready]) -> tuple[float, int]:
    """CPU time to parse, spell and hash every second transaction of a group, and how many that were."""
    data = [frame.transaction(i) for frame in map(BlockFrame.of, (r.block for r in group)) for i in range(frame.count)]
    sample = data[::_SAMPLED]
    begun = time.process_time()
    for item in sample:
        orjson.dumps(orjson.loads(item), option=orjson.OPT_SORT_KEYS)
        hashlib.sha256(item).digest()
    return time.process_time() - begun, len(sample)


def measure(directory: Path, options: argparse.Namespace) -> tuple[list[Window], float]:
    """Append the whole workflow; the windows, and the mean size of a transaction."""
    builder, store = start(directory, options.slots, options.seed)
    marks = [mark for mark in (10**4, 10**5, 3 * 10**5, 10**6, 10**7) if mark < options.transactions]
    marks.append(options.transactions)
    windows: list[Window] = []
    done = counted = size_bytes = 0
    wall = cpu = floor = sampled = parsing_wall = parsing_cpu = 0.0
    with store:
        for group in groups(builder, options.transactions, options.per_block, options.blocks_per_commit):
            count = sum(BlockFrame.of(ready.block).count for ready in group)
            size_bytes += sum(len(ready.block) for ready in group)
            cpu_begun, begun = time.process_time(), time.perf_counter()
            parsed = append(store, builder, group)
            wall_spent, cpu_spent = time.perf_counter() - begun, time.process_time() - cpu_begun
            done += count
            if done > marks[0] - WINDOW:
                seconds, number = floor_s(group)
                wall, cpu, counted = wall + wall_spent, cpu + cpu_spent, counted + count
                parsing_wall, parsing_cpu = parsing_wall + parsed[0], parsing_cpu + parsed[1]
                floor, sampled = floor + seconds, sampled + number
            if done >= marks[0]:
                each = floor / sampled
                file_mib = (directory / DATA_FILE).stat().st_size / 2**20
                us = 1e6 / counted
                window = Window(
                    until=done,
                    ready_wall_us=us * (wall - parsing_wall),
                    ready_cpu_us=us * (cpu - parsing_cpu),
                    wall_us=us * wall,
                    cpu_us=us * cpu,
                    floor_us=1e6 * each,
                    ratio=cpu / counted / each,
                    rss_anon_kib=rss_anon_kib(),
                    file_mib=file_mib,
                )
                windows.append(window)
                show(windows[-1])
                marks.pop(0)
                wall, cpu, floor, sampled, parsing_wall, parsing_cpu, counted = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0
    return windows, size_bytes / options.transactions


def show(window: Window) -> None:
    """One line of the table."""
    w = window
    print(
        f"{w.until:>10,}  ready {rates(w.ready_wall_us, w.ready_cpu_us)}  bytes {rates(w.wall_us, w.cpu_us)}  "
        f"floor {w.floor_us:>5.2f} µs  ratio {w.ratio:>4.2f}  "
        f"RssAnon {w.rss_anon_kib / 1024:>6.1f} MiB  file {w.file_mib:>8.1f} MiB",
        flush=True,
    )


def rates(wall_us: float, cpu_us: float) -> str:
    """Of wall time, and of CPU time, which other work on the machine disturbs less."""
    return f"{1e6 / wall_us:>7,.0f}/s wall {1e6 / cpu_us:>7,.0f}/s cpu ({cpu_us:>6.2f} µs)"


def proofs_ms(directory: Path, seed: int, number: int = 300) -> list[float]:
    """Times of inclusion proofs at random places, each verified outside the measured time."""
    rng = random.Random(seed)
    times = []
    with ChainStore.open(directory, readonly=True) as store, store.view() as view:
        root = view.root()
        for _ in range(number):
            height = rng.randrange(view.size)
            index = rng.randrange(view.frame(height).count)
            begun = time.perf_counter()
            inside, outside = view.transaction_path(height, index), view.inclusion_path(height)
            times.append(1e3 * (time.perf_counter() - begun))
            block = Block.decode(view.block_bytes(height))
            merkle.verify_inclusion(block.leaves[index], index, block.header.count, inside, block.header.root)
            merkle.verify_inclusion(view.tree_node(0, height), height, view.size, outside, root)
    return sorted(times)


def main() -> None:
    """Run, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transactions", type=int, default=100_000)
    parser.add_argument("--per-block", type=int, default=500)
    parser.add_argument("--blocks-per-commit", type=int, default=8)
    parser.add_argument("--slots", type=int, default=1, help="members; a certificate has just a quorum of votes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", type=Path, help="on the file system to measure (default: the temporary one)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as temporary:
        directory = Path(temporary) / "ledger"
        windows, mean_bytes = measure(directory, options)
        proofs = proofs_ms(directory, options.seed)
    growth = windows[-1].ratio / windows[0].ratio
    scaled = 1e6 / (windows[-1].ratio * FLOOR_US_PER_KIB * mean_bytes / 1024)
    print(
        f"{mean_bytes:.0f} bytes per transaction, {options.per_block} per block, "
        f"{options.blocks_per_commit} blocks per commit\n"
        f"last window, from bytes, scaled by the floor to the reference machine: {scaled:,.0f}/s "
        f"(target {TARGET_PER_S:,})\n"
        f"cost at {windows[-1].until:,} against {windows[0].until:,}: {growth:.2f} x by the floor, "
        f"{windows[-1].cpu_us / windows[0].cpu_us:.2f} x in CPU time (target 1.5)\n"
        f"inclusion proof: median {statistics.median(proofs):.3f} ms, "
        f"p99 {proofs[int(len(proofs) * 0.99)]:.3f} ms (target 1)"
    )
    if options.json:
        result = {
            "command": sys.argv,
            "python": sys.version,
            "transaction_bytes": mean_bytes,
            "windows": [asdict(window) for window in windows],
            "growth": growth,
            "scaled_per_s": scaled,
            "proofs_ms": proofs,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
