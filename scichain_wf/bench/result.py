"""What a benchmark found: every raw sample, what it should have been, and what machine it was measured on."""

from __future__ import annotations

import math
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple

_LIBRARIES: Final = ("lmdb", "orjson", "cryptography")
_DIGITS: Final = 6


class Target(NamedTuple):
    """What a figure should be at most, or at least.

    Attributes:
        bound: in the figure's unit.
        share: of samples that the quantile in question does not exceed: 0.5 is the median.
        at_least: whether the quantile must not be below the bound, instead of above it.
    """

    bound: float
    share: float = 0.5
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured, some times.

    Attributes:
        name: what, in words; unique within its result.
        unit: of samples and targets: "µs", "tx/s", "x".
        samples: in the order in which they were measured; not empty.
        targets: what the design asks for; none where a figure only explains others.
    """

    name: str
    unit: str
    samples: Sequence[float]
    targets: tuple[Target, ...] = ()

    def quantile(self, share: float) -> float:
        """The smallest sample that at least this share of them does not exceed; the usual median for 0.5."""
        if share == 0.5:
            return statistics.median(self.samples)
        return sorted(self.samples)[max(0, math.ceil(share * len(self.samples)) - 1)]

    def met(self, target: Target) -> bool:
        """Whether a target was reached."""
        found = self.quantile(target.share)
        return found >= target.bound if target.at_least else found <= target.bound


def machine() -> dict[str, object]:
    """Processor, load, memory, kernel and versions; nothing that names the host or its user."""
    versions: dict[str, str] = {}
    for name in ("scichain-wf", *_LIBRARIES):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # run from a checkout
            continue
    return {
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 2),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": sys.version.split()[0],
        "versions": versions,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


@dataclass(frozen=True, slots=True)
class Result:
    """What one benchmark found.

    Attributes:
        benchmark: its name, as on the command line.
        options: what it was asked for, the seed among it.
        figures: in the order to show them in.
        notes: what one must know to read them: what was counted, which clock, what could not be measured here.
        machine: what it ran on; `machine()` when the result was made.
    """

    benchmark: str
    options: Mapping[str, object]
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()
    machine: Mapping[str, object] = field(default_factory=machine)

    def to_json(self) -> dict[str, object]:
        """A document with every raw sample, to six digits."""
        return {
            "benchmark": self.benchmark,
            "options": dict(self.options),
            "machine": dict(self.machine),
            "notes": list(self.notes),
            "figures": [
                {
                    "name": figure.name,
                    "unit": figure.unit,
                    "median": figure.quantile(0.5),
                    "p99": figure.quantile(0.99),
                    "targets": [target._asdict() | {"met": figure.met(target)} for target in figure.targets],
                    "samples": [float(f"{sample:.{_DIGITS}g}") for sample in figure.samples],
                }
                for figure in self.figures
            ],
        }
