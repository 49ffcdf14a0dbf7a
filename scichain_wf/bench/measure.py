"""What several benchmarks measure with: clocks, memory, and the least that any program would have to do."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

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


def start_shielded(process: SpawnProcess) -> None:
    """Start a process whom no SIGINT or SIGTERM reaches, from its first instruction on: its parent ends it (SIGKILL).

    None interrupts the start either: half of a process would complain.
    """
    resource_tracker.ensure_running()  # its start would let them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
