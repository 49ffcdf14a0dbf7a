"""A run's numbers for people and programs. Nothing in here depends on the machine or on when it ran."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scichain_wf.sim.result import Result
    from scichain_wf.sim.scenario import Outcome

HEADINGS = ("SEED", "NODES", "BLOCKS", "POET", "PARKS", "CRASHES", "CONTESTED", "COMMITTED", "MEDIAN", "P99", "BROKEN")


def quantile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least this share of all samples does not exceed; `samples` is sorted, not empty."""
    return samples[max(0, math.ceil(share * len(samples)) - 1)]


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if seconds < 999.5 / factor:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:.0f} s"


def latency(samples: Sequence[float]) -> str:
    """Median, 95th and 99th percentile."""
    if not samples:
        return "none"
    ordered = sorted(samples)
    return " / ".join(duration(quantile(ordered, share)) for share in (0.5, 0.95, 0.99))


def fields(result: Result) -> list[tuple[str, str]]:
    """(name, value) lines of one run."""
    per_block = 1 / result.blocks if result.blocks else 0.0
    share = f"{100 * result.poet_share:.2f} %"
    return [
        ("nodes", str(result.nodes)),
        ("seed", str(result.seed)),
        ("virtual time", duration(result.seconds)),
        ("events", f"{result.events:,}"),
        ("transactions", f"{result.committed:,} of {result.submitted:,} submitted are committed"),
        ("blocks", f"{result.blocks:,}"),
        ("links", _counts({**result.modes, "epoch": result.epochs})),
        ("POET share", share + (f" ({_counts(result.reasons)})" if result.reasons else "")),
        ("parks", str(result.parks)),
        ("rejects", str(result.rejects)),
        ("crashes", f"{result.crashes} (restarts {result.restarts}, halts {result.halts}, lost {result.lost_nodes})"),
        ("marks", _counts(result.marks)),
        ("dropped", _counts(result.dropped) or "nothing"),
        ("latency of a transaction", f"{latency(result.durable_s)} (submitted to durable; median / p95 / p99)"),
        ("latency of a block", f"{latency(result.certified_s)} (proposed to durable)"),
        ("messages per block", f"{result.messages_per_block:.1f} ({_counts(result.messages, per_block)})"),
        ("bytes per block", f"{sum(result.message_bytes.values()) * per_block:,.0f}"),
        ("storage accesses per block", f"{result.storage_accesses_per_block:.2f}"),
        ("hashes per block", f"{result.hashes * per_block:,.0f}"),
        ("chain", result.chain),
    ]


def _counts(counts: Mapping[str, int], factor: float | None = None) -> str:
    shown = counts.items() if factor is None else ((name, f"{count * factor:.3g}") for name, count in counts.items())
    return ", ".join(f"{name} {count}" for name, count in shown)


def row(outcome: Outcome) -> tuple[str, ...]:
    """One run among several, under `HEADINGS`."""
    result, ordered = outcome.result, sorted(outcome.result.durable_s)
    shown = [duration(quantile(ordered, share)) if ordered else "" for share in (0.5, 0.99)]
    return (
        str(result.seed),
        str(result.nodes),
        str(result.blocks),
        f"{100 * result.poet_share:.2f} %",
        str(result.parks),
        str(result.crashes),
        str(result.marks["contested"]),
        f"{result.committed}/{result.submitted}",
        *shown,
        outcome.violation.tag if outcome.violation else "",
    )


def value(result: Result) -> dict[str, Any]:
    """Everything as JSON values; latencies as the 101 percentiles 0 to 100, in seconds."""
    found = {name: item for name, item in result.value().items() if name != "peak_memory_bytes"}
    for name in ("durable_s", "certified_s"):
        ordered = sorted(getattr(result, name))
        found[name] = [quantile(ordered, percent / 100) for percent in range(101)] if ordered else []
    return found
