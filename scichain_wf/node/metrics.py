"""Figures of a running process as Prometheus text, left in a file: no port, no library, nothing on the hot path.

They are collected when the file is written. A scraper finds it through the node exporter's textfile collector, or
whoever looks opens it. Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from scichain_wf import limits
from scichain_wf.node.chain import replace_file

if TYPE_CHECKING:
    from scichain_wf.node.log import Log

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of a histogram's buckets."""
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Histogram:
    """How often something took how long."""

    def __init__(self) -> None:
        self._counts = [0] * (len(SECONDS) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """It took so long once more."""
        self._counts[bisect_left(SECONDS, seconds)] += 1
        self._sum_s += seconds

    def samples(self) -> list[Sample]:
        """Its buckets, each with all that are below it, sum and count."""
        bounds = [*(f"{bound:g}" for bound in SECONDS), "+Inf"]
        totals = list(accumulate(self._counts))
        buckets = [
            Sample(total, {"le": bound}, "_bucket") for bound, total in zip(bounds, totals, strict=True)
        ]
        return [*buckets, Sample(self._sum_s, suffix="_sum"), Sample(totals[-1], suffix="_count")]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value; `suffix` is added to its metric's name."""

    value: float
    labels: Mapping[str, str] | None = None
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name behind `scichain_`, what it is, and its values."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    about: str
    samples: Iterable[Sample]


def gauge(name: str, about: str, value: float) -> Metric:
    """A number that goes up and down."""
    return Metric(name, "gauge", about, [Sample(value)])


def counter(name: str, about: str, label: str, values: Mapping[str, int] | Mapping[int, int]) -> Metric:
    """Numbers that only grow, one for each value of a label."""
    return Metric(name, "counter", about, labelled(label, values))


def labelled(label: str, values: Mapping[str, int] | Mapping[int, int]) -> list[Sample]:
    """A sample for each value of a label."""
    # A copy: the store's thread counts meanwhile.
    return [Sample(number, {label: str(value)}) for value, number in [*values.items()]]


def text(metrics: Iterable[Metric], labels: Mapping[str, str]) -> str:
    """The text format; every sample has `labels`, too: files of several processes are read together."""
    lines = []
    for metric in metrics:
        name = f"scichain_{metric.name}"
        lines += [f"# HELP {name} {metric.about}", f"# TYPE {name} {metric.kind}"]
        for sample in metric.samples:
            pairs = {**labels, **(sample.labels or {})}.items()
            shown = ",".join(f'{key}="{_escaped(value)}"' for key, value in pairs)
            lines.append(f"{name}{sample.suffix}{{{shown}}} {sample.value!r}")
    return "".join(f"{line}\n" for line in lines)


def _escaped(value: str) -> str:
    return value.encode(errors="backslashreplace").decode().translate(_ESCAPES)


class Posted:
    """A small text file about this process that is kept current while it runs, and removed at its end.

    Args:
        path: the file; its directory is made.
        render: what it shall say; None: nothing, it is not this process's any more.
        every_s: how often that is asked; what has not changed is not written again.
        log: told once if it cannot be written.
    """

    def __init__(self, path: Path, render: Callable[[], str | None], every_s: float, log: Log) -> None:
        self._path, self._render, self._every_s, self._log = path, render, every_s, log
        self._said, self._is_broken = "", False

    async def keep(self) -> None:
        """Until it is cancelled. The disk may be slow or gone: it is waited for in a thread."""
        await asyncio.sleep(limits.SLOTS_S)  # a start has other things to do
        while True:
            says = self._render()
            if says is not None and says != self._said:
                self._said = says
                await asyncio.to_thread(self._write, says)
            await asyncio.sleep(self._every_s)

    def _write(self, says: str) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._path, says)
        except OSError as error:
            if not self._is_broken:
                self._log.warning("a file about this process cannot be written", path=self._path, reason=error)
            self._is_broken = True

    def remove(self) -> None:
        """The process ends."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            return  # it says when it was written


def posted(
    directory: Path, chain: bytes, role: str, collect: Callable[[], Iterable[Metric] | None], log: Log
) -> Posted:
    """The figures of the process in `role` on a chain (32 bytes), in `directory`."""
    short = chain.hex()[:16]
    labels = {"chain": short, "role": role}
    path = directory / f"scichain-{short}-{role}.prom"

    def render() -> str | None:
        metrics = collect()
        return None if metrics is None else text(metrics, labels)

    return Posted(path, render, limits.METRICS_S, log)
