"""What several benchmarks measure with: clocks, memory, and the least that any program would have to do."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import orjson

FLOOR_US_PER_KIB: Final = 6.6
"""`floor_us` of 1 KiB on the design's reference machine."""


def timed_us(call: Callable[[], object], number: int, clock: Callable[[], int] = time.perf_counter_ns) -> list[float]:
    """How long each of so many calls took, on a clock of nanoseconds."""
    took = []
    for _ in range(number):
        begun = clock()
        call()
        took.append((clock() - begun) / 1e3)
    return took


def floor_us(transactions: Sequence[bytes]) -> float:
    """CPU time to parse, spell and hash one of these transactions once: who stores records cannot do with less.

    Machines differ and drift; a cost beside its floor of the same moment can be compared.
    """
    begun = time.thread_time_ns()
    for data in transactions:
        orjson.dumps(orjson.loads(data), option=orjson.OPT_SORT_KEYS)
        hashlib.sha256(data).digest()
    return (time.thread_time_ns() - begun) / 1e3 / len(transactions)


def rss_anon_mib(pid: int | str = "self") -> float:
    """Anonymous memory of a process: what it allocated, without the files that it mapped."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024
