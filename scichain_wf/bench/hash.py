"""Hashing files: one after another, and two at once, as the files of one task are hashed.

Two files on tmpfs, so that no disk is measured. Each round hashes one file, both at once, and as many bytes in memory
(hashlib alone: the floor), in an order that changes from round to round. Where other work runs on the machine, wall
time says little: CPU time (user and system) says then what a file costs.
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

from scichain_wf import filehash
from scichain_wf.bench.result import Figure, Result, Target
from scichain_wf.client.outbox import SHARED_MEMORY

_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure.

    Attributes:
        mib: size of each file.
        rounds: how often.
        seed: of the files' content.
    """

    mib: int = 256
    rounds: int = 7
    seed: int = 1


def run(options: Options) -> Result:
    """Measure.

    Raises:
        OSError: no room for two such files in shared memory.
    """
    with two_files(options.mib, options.seed) as paths:
        block = paths[0].read_bytes()[:_MIB]
        cases: list[tuple[str, Callable[[], object]]] = [
            ("memory", lambda: _in_memory(block, options.mib)),
            ("one", lambda: filehash.hash_file(paths[0])),
            ("two", lambda: hash_both(paths)),
        ]
        samples = in_turn(cases, options.rounds)
    wall, cpu = ({name: [took[i] for took in found] for name, found in samples.items()} for i in (0, 1))
    cores = len(os.sched_getaffinity(0))
    pairs = list(zip(wall["one"], wall["two"], strict=True))
    by_cpu = [memory / one for memory, one in zip(cpu["memory"], cpu["one"], strict=True)]
    figures = (
        Figure("one file", "MiB/s", [options.mib / took for took in wall["one"]]),
        Figure("two files at once", "MiB/s", [2 * options.mib / took for took in wall["two"]]),
        Figure("two files at once against one", "x", [2 * one / two for one, two in pairs],
               (Target(1.8, at_least=True),) if cores > 1 else ()),
        Figure("one file against bytes in memory, by CPU time", "x", by_cpu),
        Figure("CPU of one file", "s", cpu["one"]),
    )  # fmt: skip
    spread = statistics.median(wall["one"]) / statistics.median(cpu["one"])
    note = f"One file took {spread:.2f} times its CPU time: if far from 1, others use this machine as well."
    return Result("hash", asdict(options), figures, (note,))


@contextmanager
def two_files(mib: int, seed: int) -> Iterator[list[Path]]:
    """Two files of random bytes in shared memory; gone at the end."""
    content = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY, prefix="scichain-bench-") as base:
        paths = [Path(base, name) for name in "ab"]
        for path in paths:
            with path.open("wb") as file:
                for _ in range(mib):
                    file.write(content.randbytes(_MIB))
        yield paths


def hash_both(paths: list[Path]) -> list[filehash.FileDigest]:
    """All files at once, as the files of one task are hashed."""
    return list(filehash.in_order((path.stat().st_size, partial(filehash.hash_file, path)) for path in paths))


def in_turn(
    cases: list[tuple[str, Callable[[], object]]], rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of each call in each round, child processes included; each round begins with another."""
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in cases}
    for number in range(rounds):
        first = number % len(cases)
        for name, call in cases[first:] + cases[:first]:
            before, begun = _cpu_s(), time.perf_counter()
            call()
            samples[name].append((time.perf_counter() - begun, _cpu_s() - before))
    return samples


def _cpu_s() -> float:
    """Of this process and its children that have ended, user and system; `os.times` counts in hundredths."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _in_memory(block: bytes, mib: int) -> bytes:
    digest = hashlib.sha256()
    for _ in range(mib):
        digest.update(block)
    return digest.digest()
