"""Write docs/explanation/simulation.md and its charts from the figures in docs/figures/.

The figures are made by `python -m tests.benchmarks.bench_sim WHAT --figures docs/figures`, which takes hours for all of
them; `python docs/generate_simulation.py` then writes the page. With `--check` it writes nothing and exits 1 where the
page is not what the figures say.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from pages import keep

DOCS: Final = Path(__file__).parent
PAGE: Final = DOCS / "explanation" / "simulation.md"
RULES: Final = ("adaptive", "1", "2", "3", "4", "5", "6")
Rows = list[dict[str, Any]]

INTRODUCTION: Final = """# What the simulator says

Figures of the worlds of [`scichain-wf sim`](../how-to/simulate.md), made by `python -m tests.benchmarks.bench_sim`
and kept in `docs/figures/`. Seed 1, Ethernet (250 µs one way), 1 ms for a sync of storage's disk, no faults, unless
something else is said. Only mining takes processor time in these worlds (500,000 hashes/s a node), so latencies are
those of the protocol and the network.
"""
SCALE: Final = """
## What a block costs

10 tasks a second over all nodes, difficulty 1. SciChain §3.1 and §3.2 state a complexity of O(|M|), |M| being the
number of nodes. Here it is three messages for each node: the proposal, a verdict and the link. Storage is accessed
twice for a block, however many nodes there are: one push, one sync.

{table}

![Messages and storage accesses of a block, by number of nodes](../figures/sim-scale.svg)

Bytes are counted with everything else that was sent, for each block. At 1,024 nodes most of them are the epoch
record, some 600 KB, that each node gets when it joins, and few blocks share that in a run of seconds.
"""
LARGE: Final = """
## Large worlds

No checkers, one core of a machine that was busy with other work, so that only its processor time says something.

{table}
"""
TAILS: Final = """
## Short tails

16 nodes, 60 tasks a second that read up to three of the newest 64 outputs, InfiniBand. A node that does not hold an
input's link any more can only say UNKNOWN. As long as the tail covers what tasks read, no block needs storage's own
verdict; below, POET's share grows, and such blocks wait for their deadline first, since UNKNOWN may still become
VALID. In a real node the tail is bounded in bytes, and a filter over everything older recognises most files as new.

{table}

![POET's share by number of links in the tail](../figures/sim-tails.svg)
"""
DIFFICULTY: Final = """
## Adaptive difficulty against fixed 1 to 6

The rule of [decision 4](../adr/0004-adaptive-difficulty.md), mining at most a tenth of the time between two blocks of
a node. Loads are over all nodes; tasks read nothing. A run has 72 to 300 tasks and is measured from its middle on,
when the first retarget is past. A cell is the median from submission to durable (some 50 ms of it the time in which a
draft waits for company), then mining's share of the time between two blocks of one node. These tables are older than
[decision 10](../adr/0010-what-trickles-in-shares-a-block.md), since which a draft of a node that makes several in 0.2 s
waits longer. In a race a peer searches for several blocks as if each search had a core of its own: under load, a
race's true cost is higher. A share above 100% is a node that never stops mining: it is counted when a search ends.
"""
HASHES: Final = """
Hashes for each block, all nodes together, at 200 tasks/s:

{table}

![Latency by difficulty: own, 200 tasks/s](../figures/sim-difficulty-own-high.svg)

![Latency by difficulty: race, 200 tasks/s](../figures/sim-difficulty-race-high.svg)

Mining stays within its tenth at every scale that was run, and adaptive costs 3 to 20 ms over fixed 1. Fixed 4
already takes half of a node's time at 20 nodes and 200 tasks a second; from fixed 5 on, mining decides how long a
commit takes, as SciChain §5.4 found. A race buys time back only there. Since more nodes search, the rule asks for more
in a race: at 100 nodes five digits and 1.2 million hashes for a block, where `own` commits as fast with 3,900
([decision 3](../adr/0003-mining-own.md)).
"""


def kept(name: str) -> Rows:
    """Numbers of a figure; none where it was not made."""
    file = DOCS / "figures" / f"sim-{name}.json"
    found: Rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return found


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under headings."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def scale() -> str:
    """Costs by number of nodes."""
    headings = (
        "nodes",
        "blocks",
        "messages",
        "for each node",
        "storage accesses",
        "KiB",
        "proposed to durable",
        "POET",
    )
    rows = [
        (
            f"{row['nodes']:,}",
            row["blocks"],
            f"{row['of_agreement']:,.0f}",
            f"{row['per_node']:.2f}",
            f"{row['storage_accesses']:.2f}",
            f"{row['kib_per_block']:,.0f}",
            f"{row['block_ms']:.2f} ms",
            f"{row['poet_share']:.0%}",
        )
        for row in kept("scale")
    ]
    return SCALE.format(table=table(headings, rows))


def large() -> str:
    """Large worlds."""
    rows = [
        (
            f"{row['nodes']:,}",
            f"{row['tasks_per_s']:g} tasks/s for {row['load_s']:g} s",
            f"{row['virtual_s']:.0f} s",
            row["blocks"],
            f"{row['events']:,}",
            f"{row['cpu_s']} s",
            f"{row['events_per_cpu_s']:,}",
            f"{row['peak_rss_mib']:,} MiB",
        )
        for row in [*kept("large-1024"), *kept("large-10000")]
    ]
    headings = ("nodes", "load", "virtual time", "blocks", "events", "processor time", "events for 1 s of it", "memory")
    return LARGE.format(table=table(headings, rows))


def tails() -> str:
    """POET's share by tail."""
    rows = [
        (f"{row['tail_links']:,}", f"{row['poet_share']:.1%}", _ms(row["block_ms"]), _ms(row["block_ms_p95"]))
        for row in kept("tails")
    ]
    return TAILS.format(table=table(("links held", "POET", "proposed to durable, median", "p95"), rows)) if rows else ""


def difficulty() -> str:
    """Latency, mining's share and hashes by rule and number of nodes."""
    parts, hashes = [DIFFICULTY], {}
    for mining in ("own", "race"):
        for load in ("high", "low"):
            rows = kept(f"difficulty-{mining}-{load}")
            scales = sorted({row["nodes"] for row in rows})
            cells = {(row["difficulty"], row["nodes"]): row for row in rows}
            if not rows:
                continue
            shown = {at: f"{_ms(row['latency_ms'])}, {_share(row['mining_share'])}" for at, row in cells.items()}
            parts.append(f"\n`{mining}`, {rows[0]['tasks_per_s']:g} tasks/s:\n\n{_by_rule(scales, shown)}\n")
            if load == "high":
                hashes[mining] = {at: f"{row['hashes_per_block']:,}" for at, row in cells.items()}
    columns = sorted({(mining, nodes) for mining, cells in hashes.items() for _, nodes in cells})
    lines = [[_rule(rule), *(hashes[mining].get((rule, n), "not run") for mining, n in columns)] for rule in RULES]
    headings = ["difficulty", *(f"{mining}, {nodes:,} nodes" for mining, nodes in columns)]
    return "".join(parts) + HASHES.format(table=table(headings, lines))


def _by_rule(scales: Sequence[int], cells: dict[tuple[str, int], str]) -> str:
    lines = [[_rule(rule), *(cells.get((rule, nodes), "not run") for nodes in scales)] for rule in RULES]
    return table(["difficulty", *(f"{nodes:,} nodes" for nodes in scales)], lines)


def _rule(rule: str) -> str:
    return rule if rule == "adaptive" else f"fixed {rule}"


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1_000:,.0f} s"


def _share(value: float) -> str:
    return "< 0.1%" if value < 0.001 else f"{value:.1%}"


def page() -> str:
    """The page's text."""
    return INTRODUCTION + scale() + large() + tails() + difficulty()


if __name__ == "__main__":
    sys.exit(keep(PAGE, page()))
