"""The simulator's figures: scale, large worlds, tails and difficulty.

    python -m tests.benchmarks.bench_sim scale
    python -m tests.benchmarks.bench_sim large --nodes 1024 --duration 720 --rate 0.1
    python -m tests.benchmarks.bench_sim tails
    python -m tests.benchmarks.bench_sim difficulty --mining own --load low

Each prints a table; with `--figures DIR` (docs/figures is where they are kept) it also writes its numbers as JSON and
its charts as SVG. All but "machine" follows from the seed. Machines differ and drift: CPU seconds beside wall time.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scichain_wf.model.difficulty import Difficulty
from scichain_wf.sim import plot, summary
from scichain_wf.sim.config import SimConfig
from scichain_wf.sim.plot import Axis
from scichain_wf.sim.presets import ADAPTIVE_SHARE_PERMILLE
from scichain_wf.sim.result import Result
from scichain_wf.sim.world import World

SCALES = (4, 16, 64, 256, 1_024)
DIFFICULTY_SCALES = {20: 300, 100: 120, 300: 90, 1_024: 72}
"""Tasks by nodes: enough for a retarget, and as few as that, since a block costs some five events for each node."""
LOADS = {"low": 5.0, "high": 200.0}
RULES = ("adaptive", "1", "2", "3", "4", "5", "6")
TAILS = (1, 2, 4, 8, 16, 32, 64, 128)
Figures = dict[str, Any]


def ran(config: SimConfig) -> tuple[Result, Figures]:
    """A run, and what this machine needed for it."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = World(config).run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result, {
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "events_per_cpu_s": round(result.events / cpu),
        "peak_rss_mib": round(peak),
        "python": sys.version.split()[0],
    }


def median_ms(samples: Iterable[float], share: float = 0.5) -> float:
    """A quantile in milliseconds."""
    ordered = sorted(samples)
    return round(1e3 * summary.quantile(ordered, share), 3) if ordered else float("nan")


def show(rows: list[Figures]) -> None:
    """Rows of the same keys as a table."""
    names = [name for name in rows[0] if name not in {"messages", "machine"}]
    table = [
        names,
        *([f"{row[name]:,}" if isinstance(row[name], int) else str(row[name]) for name in names] for row in rows),
    ]
    widths = [max(len(line[i]) for line in table) for i in range(len(names))]
    for line in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)), flush=True)


def scale(options: argparse.Namespace) -> tuple[list[Figures], Mapping[str, str]]:
    """Messages and storage accesses of a block, as the world grows. The load is 10 tasks a second over all nodes."""
    rows: list[Figures] = []
    for nodes in SCALES:
        duration_s = min(20.0, 4_000 / nodes)
        result, machine = ran(SimConfig(nodes=nodes, duration_s=duration_s, rate=10, difficulty=1, seed=options.seed))
        agreed = sum(result.messages[kind] for kind in ("Propose", "Verdicts", "Push"))
        agreed += round(result.messages["Committed"] * result.blocks / (result.blocks + result.epochs))
        rows.append(
            {
                "nodes": nodes,
                "blocks": result.blocks,
                "messages_per_block": round(result.messages_per_block, 2),
                "of_agreement": round(agreed / result.blocks, 2),
                "per_node": round(agreed / result.blocks / nodes, 3),
                "storage_accesses": round(result.storage_accesses_per_block, 3),
                "kib_per_block": round(sum(result.message_bytes.values()) / result.blocks / 1024, 1),
                "block_ms": median_ms(result.certified_s),
                "poet_share": round(result.poet_share, 4),
                "messages": result.messages,
                "machine": machine,
            }
        )
    lines = {
        "messages of its agreement": [(row["nodes"], row["of_agreement"]) for row in rows],
        "storage accesses": [(row["nodes"], row["storage_accesses"]) for row in rows],
    }
    chart = plot.chart("Cost of a block", Axis("nodes", log=True), Axis("for each block", log=True), lines)
    return rows, {"scale": chart}


def large(options: argparse.Namespace) -> tuple[list[Figures], Mapping[str, str]]:
    """One large world: events a second, memory."""
    config = SimConfig(
        nodes=options.nodes, duration_s=options.duration, rate=options.rate, difficulty=1, seed=options.seed
    )
    result, machine = ran(config)
    row = {
        "nodes": options.nodes,
        "load_s": options.duration,
        "tasks_per_s": options.rate,
        "virtual_s": round(result.seconds, 1),
        "blocks": result.blocks,
        "committed": result.committed,
        "submitted": result.submitted,
        "poet_share": round(result.poet_share, 4),
        "block_ms": median_ms(result.certified_s),
        "events": result.events,
        **{name: machine[name] for name in ("wall_s", "cpu_s", "events_per_cpu_s", "peak_rss_mib")},
        "machine": machine,
    }
    return [row], {}


def tails(options: argparse.Namespace) -> tuple[list[Figures], Mapping[str, str]]:
    """POET's share as tails shrink: who does not know an input any more cannot say VALID (LIVE-2)."""
    rows: list[Figures] = []
    for links in TAILS:
        config = SimConfig(
            nodes=16, duration_s=5, rate=60, difficulty=0, tail_links=links, latency="infiniband", seed=options.seed
        )
        result, machine = ran(config)
        rows.append(
            {
                "tail_links": links,
                "blocks": result.blocks,
                "poet_share": round(result.poet_share, 4),
                "block_ms": median_ms(result.certified_s),
                "block_ms_p95": median_ms(result.certified_s, 0.95),
                "reasons": ", ".join(f"{name} {count}" for name, count in result.reasons.items()),
                "machine": machine,
            }
        )
    lines = {
        "16 nodes, 60 tasks/s, inputs from the newest 64 outputs": [(r["tail_links"], r["poet_share"]) for r in rows]
    }
    axes = Axis("links that a node's tail holds", log=True), Axis("share of blocks by POET", low=0, high=1)
    return rows, {"tails": plot.chart("POET's share as tails shrink", *axes, lines)}


def difficulty(options: argparse.Namespace) -> tuple[list[Figures], Mapping[str, str]]:
    """Adaptive difficulty against fixed 1 to 6, with one way of mining and one load (tasks a second over all nodes)."""
    kept = kept_file(options)
    rows: list[Figures] = json.loads(kept.read_text()) if kept and kept.exists() else []
    known = {(row["nodes"], row["difficulty"]) for row in rows}
    for nodes, tasks in DIFFICULTY_SCALES.items():
        for rule in RULES:
            if nodes <= options.nodes and (nodes, rule) not in known:
                rows.append(_difficulty(options, nodes, tasks, rule))
                write(options, rows, {})  # it takes long; a second start goes on from here
    return rows, _difficulty_chart(options, rows)


def _difficulty_chart(options: argparse.Namespace, rows: list[Figures]) -> Mapping[str, str]:
    lines = {
        rule if rule == "adaptive" else f"fixed {rule}": [
            (row["nodes"], row["latency_ms"]) for row in rows if row["difficulty"] == rule
        ]
        for rule in RULES
    }
    title = f"Submitted to durable, median: mining {options.mining}, {LOADS[options.load]:.0f} tasks/s"
    chart = plot.chart(title, Axis("nodes", log=True), Axis("milliseconds", log=True), lines)
    return {f"difficulty-{options.mining}-{options.load}": chart}


def _difficulty(options: argparse.Namespace, nodes: int, tasks: int, rule: str) -> Figures:
    """One run. It is measured from the middle on: before, an adaptive difficulty has no anchors."""
    rate = LOADS[options.load]
    adaptive = Difficulty("adaptive", 1, ADAPTIVE_SHARE_PERMILLE, SimConfig().hashes_per_s)
    config = SimConfig(
        nodes=nodes,
        duration_s=tasks / rate,
        drain_s=1_000,
        rate=rate,
        difficulty=adaptive if rule == "adaptive" else int(rule),
        mining=options.mining,
        seed=options.seed,
        fan_in=0,
    )
    cpu = time.process_time()
    world = World(config)
    world.start()
    world.kernel.run(0.5 * config.duration_s)
    half_s, before = world.now, world.result()
    result = world.run()
    blocks, hashes = result.blocks - before.blocks, result.hashes - before.hashes
    searchers = nodes if options.mining == "race" else 1
    search_s = hashes / config.hashes_per_s / blocks / searchers
    interval_s = (result.seconds - half_s) * nodes / blocks
    durable_s = result.durable_s[len(before.durable_s) :]
    return {
        "mining": options.mining,
        "tasks_per_s": rate,
        "nodes": nodes,
        "difficulty": rule,
        "blocks": blocks,
        "latency_ms": median_ms(durable_s),
        "latency_ms_p95": median_ms(durable_s, 0.95),
        "search_ms": round(1e3 * search_s, 2),
        "interval_ms": round(1e3 * interval_s, 1),
        "mining_share": round(search_s / interval_s, 4),
        "hashes_per_block": round(hashes / blocks),
        "poet_share": round(result.poet_share, 4),
        "machine": {"cpu_s": round(time.process_time() - cpu, 1)},
    }


FIGURES = {"scale": scale, "large": large, "tails": tails, "difficulty": difficulty}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=FIGURES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=1_024, help="of `large`; of `difficulty`, at most")
    parser.add_argument("--duration", type=float, default=720.0, help="of `large`, virtual seconds of load")
    parser.add_argument("--rate", type=float, default=0.1, help="of `large`, tasks a second over all nodes")
    parser.add_argument("--mining", choices=["own", "race"], default="own", help="of `difficulty`")
    parser.add_argument("--load", choices=LOADS, default="low", help="of `difficulty`")
    parser.add_argument(
        "--figures", type=Path, help="write JSON and SVG into this directory, too; go on from what is there"
    )
    options = parser.parse_args()
    rows, charts = FIGURES[options.what](options)
    show(rows)
    write(options, rows, charts)


def kept_file(options: argparse.Namespace) -> Path | None:
    """Where the numbers of a figure are kept."""
    part = {"large": f"-{options.nodes}", "difficulty": f"-{options.mining}-{options.load}"}.get(options.what, "")
    return options.figures / f"sim-{options.what}{part}.json" if options.figures else None


def write(options: argparse.Namespace, rows: list[Figures], charts: Mapping[str, str]) -> None:
    """Keep the figures, if they are to be kept."""
    kept = kept_file(options)
    if kept is not None:
        kept.write_text(json.dumps(rows, indent=1) + "\n")
        for chart, svg in charts.items():
            kept.with_name(f"sim-{chart}.svg").write_text(svg)


if __name__ == "__main__":
    main()
