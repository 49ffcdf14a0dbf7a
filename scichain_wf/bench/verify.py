"""Verification: a whole chain in full, and one file.

The chain is made first (real signatures, roots and certificates; not measured). CPU time is that of one process that
checks everything; wall time is `verify` as users call it, with its child processes. The *floor* is what parsing,
spelling and hashing the same transactions takes in the same moment.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scichain_wf import audit
from scichain_wf.audit.chain import verify_on
from scichain_wf.bench.builder import ROOT_ID
from scichain_wf.bench.chains import generate_chain
from scichain_wf.bench.measure import FLOOR_US_PER_KIB, floor_us, rss_anon_mib
from scichain_wf.bench.result import Figure, Result, Target
from scichain_wf.errors import VerificationError
from scichain_wf.ledger import rawread
from scichain_wf.ledger.isolate import Inline, Pool, result
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.model.block import BlockFrame

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_HEIGHT: Final = 3
_SAMPLED_BLOCKS: Final = 20
_TARGET_US: Final = 25.0


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure.

    Attributes:
        transactions: of the chain.
        per_block: transactions of each block.
        slots: members; a certificate has a quorum of votes.
        jobs: processes that verify.
        rounds: how often the whole chain is verified.
        files: how often one file is.
        seed: of the chain.
        directory: where the chain is made; None: where temporary files are.
    """

    transactions: int = 20_000
    per_block: int = 500
    slots: int = 4
    jobs: int = len(os.sched_getaffinity(0))
    rounds: int = 3
    files: int = 20
    seed: int = 1
    directory: Path | None = None


def run(options: Options) -> Result:
    """Measure.

    Raises:
        VerificationError: the chain does not verify, or a changed file does.
    """
    with tempfile.TemporaryDirectory(prefix="scichain-bench-", dir=options.directory) as base:
        layout = ChainLayout(Path(base, "chain"))
        generate_chain(layout.root, options.transactions, options.per_block, options.slots, options.seed)
        sampled = list(_sampled(layout))
        floor, cpu, wall = [], [], []
        for _ in range(options.rounds):
            floor.append(floor_us(sampled))
            cpu.append(_cpu_us(layout, options.transactions))
            begun = time.perf_counter()
            _require(audit.verify_chain(layout.root, jobs=options.jobs))
            wall.append(options.transactions / (time.perf_counter() - begun))
        memory = _child_memory_mib(layout)
        files = _one_file_ms(layout, options)
    each_kib = statistics.mean(map(len, sampled)) / 1024
    # The floor's target is that of the reference machine, at this size of a transaction.
    ratio = [spent / least for spent, least in zip(cpu, floor, strict=True)]
    figures = (
        Figure("CPU of a transaction, in full", "µs", cpu, (Target(_TARGET_US),)),
        Figure("the same against its floor", "x", ratio, (Target(_TARGET_US / (FLOOR_US_PER_KIB * each_kib)),)),
        Figure("floor", "µs", floor),
        Figure(f"whole chain, {options.jobs} processes", "tx/s", wall),
        Figure("one file", "ms", files, (Target(50.0),)),
        Figure("memory of a verifying process", "MiB", [memory]),
    )
    return Result("verify", asdict(options) | {"directory": str(options.directory or "")}, figures)


def _sampled(layout: ChainLayout) -> Iterator[bytes]:
    """Transactions of some blocks."""
    ledger = rawread.RawLedger(layout.live_ledger())
    try:
        for height in range(_FIRST_HEIGHT, _FIRST_HEIGHT + _SAMPLED_BLOCKS):
            stored = ledger.block(height)
            if stored is not None:
                frame = BlockFrame.of(stored)
                yield from (frame.transaction(index) for index in range(frame.count))
    finally:
        ledger.close()


def _cpu_us(layout: ChainLayout, transactions: int) -> float:
    begun = time.process_time()
    found = verify_on(Inline(), layout, layout.live_ledger(), None, None)
    spent = time.process_time() - begun
    rawread.release()
    _require(found)
    return 1e6 * spent / transactions


def _require(found: audit.Result) -> None:
    if found.exit_code:
        raise VerificationError(f"the chain of the benchmark does not verify: {found.sentence()}")


def _child_memory_mib(layout: ChainLayout) -> float:
    with Pool(1) as pool:
        verify_on(pool, layout, layout.live_ledger(), None, None)
        return result(pool, rss_anon_mib)


def _one_file_ms(layout: ChainLayout, options: Options) -> list[float]:
    """Times of `verify` of a file that was changed, child process and proof included."""
    changed = layout.root.parent / "work" / "out" / f"{options.transactions // 2:08x}.bam"
    changed.parent.mkdir(parents=True)
    changed.write_bytes(b"not what was recorded")
    times = []
    for _ in range(options.files):
        begun = time.perf_counter()
        found = audit.verify_artifact(layout.root, changed, roots={ROOT_ID: changed.parent.parent})
        times.append(1e3 * (time.perf_counter() - begun))
        if found.files[0].state is not audit.FileState.CHANGED:
            raise VerificationError(f"a changed file was not noticed: {found.sentence()}")
    return times
