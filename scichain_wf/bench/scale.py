"""How the storage node's own work grows with the chain: from a block's bytes to its fsynced link, all indexes.

A whole workflow is appended to a new ledger in group commits, as a storage node does with certified blocks, and looked
at in windows: what one transaction cost from ready blocks (append, indexes, commit, fsync) and from bytes (splitting
and parsing included), beside its *floor* of the same moment; memory; and at last inclusion proofs at random places.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from scichain_wf.bench import chains
from scichain_wf.bench.measure import floor_us, rss_anon_mib
from scichain_wf.bench.result import Figure, Result, Target
from scichain_wf.crypto import merkle
from scichain_wf.ledger.layout import DATA_FILE
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.block import Block, BlockFrame

_SAMPLED: Final = 4
_PROOFS: Final = 300


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure.

    Attributes:
        transactions: in all.
        windows: into how many parts of the same size they are counted.
        per_block: transactions of each block.
        blocks_per_commit: blocks that one fsync makes durable.
        slots: members; a certificate has a quorum of votes.
        seed: of the chain, and of the places of proofs.
        directory: on the file system to measure; None: where temporary files are.
    """

    transactions: int = 60_000
    windows: int = 6
    per_block: int = 500
    blocks_per_commit: int = 8
    slots: int = 1
    seed: int = 1
    directory: Path | None = None


@dataclass(slots=True)
class _Window:
    """Sums over one part of the chain."""

    until: int
    count: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    parsing_wall_s: float = 0.0
    parsing_cpu_s: float = 0.0
    floors_us: list[float] = field(default_factory=list)
    memory_mib: float = 0.0

    @property
    def cpu_us(self) -> float:
        return 1e6 * self.cpu_s / self.count

    @property
    def ready_us(self) -> float:
        return 1e6 * (self.cpu_s - self.parsing_cpu_s) / self.count

    @property
    def ready_per_s(self) -> float:
        return self.count / (self.wall_s - self.parsing_wall_s)

    @property
    def floor_us(self) -> float:
        return statistics.fmean(self.floors_us)


def run(options: Options) -> Result:
    """Measure.

    Raises:
        LedgerError, LedgerFull: no room for the chain.
    """
    with tempfile.TemporaryDirectory(prefix="scichain-bench-", dir=options.directory) as base:
        directory = Path(base, "ledger")
        windows = _appended(directory, options)
        proofs = _proofs_ms(directory, options.seed)
        file_mib = (directory / DATA_FILE).stat().st_size / 2**20
    first, last = windows[0], windows[-1]
    growth = (last.cpu_us / last.floor_us) / (first.cpu_us / first.floor_us)
    target = (Target(1.5),)
    figures = (
        Figure("append of ready blocks", "tx/s", [window.ready_per_s for window in windows],
               (Target(40_000, at_least=True),)),
        Figure("CPU of a transaction, ready", "µs", [window.ready_us for window in windows]),
        Figure("CPU of a transaction, from bytes", "µs", [window.cpu_us for window in windows]),
        Figure("floor", "µs", [window.floor_us for window in windows]),
        Figure("last window against the first, CPU", "x", [last.cpu_us / first.cpu_us], target),
        Figure("the same, each against its floor", "x", [growth], target),
        Figure("memory", "MiB", [window.memory_mib for window in windows]),
        Figure("inclusion proof", "ms", proofs),
        Figure("ledger file", "MiB", [file_mib]),
    )  # fmt: skip
    shown = ", ".join(f"{window.until:,}" for window in windows)
    note = f"Samples are windows that end at {shown} transactions."
    return Result("scale", asdict(options) | {"directory": str(options.directory or "")}, figures, (note,))


def _appended(directory: Path, options: Options) -> list[_Window]:
    """Append the whole workflow; what each window cost."""
    builder, store = chains.start(directory, options.slots, options.seed)
    each = -(-options.transactions // options.windows)
    windows, done = [_Window(each)], 0
    with store:
        for group in chains.groups(builder, options.transactions, options.per_block, options.blocks_per_commit):
            frames = [BlockFrame.of(ready.block) for ready in group]
            if done >= windows[-1].until:
                windows.append(_Window(done - done % each + each))
            window = windows[-1]
            cpu_begun, begun = time.process_time(), time.perf_counter()
            parsing_wall_s, parsing_cpu_s = chains.append(store, builder, group)
            window.wall_s += time.perf_counter() - begun
            window.cpu_s += time.process_time() - cpu_begun
            window.parsing_wall_s += parsing_wall_s
            window.parsing_cpu_s += parsing_cpu_s
            window.floors_us.append(floor_us([f.transaction(i) for f in frames for i in range(0, f.count, _SAMPLED)]))
            window.count += sum(frame.count for frame in frames)
            window.memory_mib = rss_anon_mib()
            done += sum(frame.count for frame in frames)
    return windows


def _proofs_ms(directory: Path, seed: int) -> list[float]:
    """Times of inclusion proofs at random places, each verified outside the measured time."""
    rng = random.Random(seed)
    times = []
    with ChainStore.open(directory, readonly=True) as store, store.view() as view:
        root = view.root()
        for _ in range(_PROOFS):
            height = rng.randrange(view.size)
            index = rng.randrange(view.frame(height).count)
            begun = time.perf_counter()
            inside, outside = view.transaction_path(height, index), view.inclusion_path(height)
            times.append(1e3 * (time.perf_counter() - begun))
            block = Block.decode(view.block_bytes(height))
            merkle.verify_inclusion(block.leaves[index], index, block.header.count, inside, block.header.root)
            merkle.verify_inclusion(view.tree_node(0, height), height, view.size, outside, root)
    return times
