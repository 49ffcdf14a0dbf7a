"""The byte-flip table: what is altered, how often, and whether verification finds it.

    python -m tests.integration.flips --chain-transactions 100000 --mutations 10000 --seed 1
    python -m tests.integration.flips --exhaustive
    python -m tests.integration.flips --exhaustive --part 2/8

The first alters random records and fields of a big chain; the second flips every byte of a small one. Both end with
exit status 1 if anything was missed, or if a change that alters no read result was called one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from scichain_wf.bench.chains import generate_chain
from scichain_wf.ledger.layout import ChainLayout
from tests.chains import small_chain
from tests.integration import byteflips, changed_ledger, mutations
from tests.integration.byteflips import Flip, Table

_PER_BLOCK = 100
"""Small blocks, so that there are many links, certificates and tree nodes to alter."""


@dataclass
class Outcome:
    """Of the mutations one process made."""

    found: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    by_full: Counter[str] = field(default_factory=Counter)
    sampled: int = 0
    sample_differs: int = 0
    sound_after: bool = False


def mutate(root: Path, number: int, seed: int, full_sample: int) -> Outcome:
    """Make `number` mutations on the chain in `root`; `full_sample` of them are verified in full as well."""
    byteflips.remember_pure_functions()
    ledger, rng, outcome = changed_ledger.Ledger(ChainLayout(root)), random.Random(seed), Outcome()
    mutations.take_counts(ledger)
    sample = set(rng.sample(range(number), min(full_sample, number)))
    for count in range(number):
        mutation = mutations.make(ledger, rng)
        with changed_ledger.applied(ledger, mutation):
            found, by_full = mutations.judge(ledger, mutation)
            if count in sample and not by_full:
                outcome.sampled += 1
                outcome.sample_differs += byteflips.verified(ledger.layout) is found  # the ledger is closed by `judge`
        (outcome.found if found else outcome.missed)[mutation.kind] += 1
        outcome.by_full[mutation.kind] += by_full
    ledger.close()
    outcome.sound_after = byteflips.verified(ledger.layout)
    return outcome


def big(transactions: int, number: int, seed: int, jobs: int, directory: Path) -> bool:
    """Print the table of random mutations; whether everything was found."""
    begun = time.monotonic()
    generate_chain(directory / "0", transactions, per_block=_PER_BLOCK, seed=seed)
    for job in range(1, jobs):
        shutil.copytree(directory / "0", directory / str(job))
    shares = [number // jobs + (job < number % jobs) for job in range(jobs)]
    tasks = [(directory / str(job), shares[job], seed * 1_000 + job, -(-30 // jobs)) for job in range(jobs)]
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        outcomes = pool.starmap(mutate, tasks)
    found, missed = Counter[str](), Counter[str]()
    for outcome in outcomes:
        found.update(outcome.found)
        missed.update(outcome.missed)
    print(
        f"seed {seed}: {number} mutations on a chain of {transactions} transactions, {time.monotonic() - begun:.0f} s"
    )
    print(f"{'kind of mutation':<60} {'found':>7} {'not found':>9}")
    for kind in sorted(found | missed):
        print(f"{kind:<60} {found[kind]:>7} {missed[kind]:>9}")
    print(f"{'all':<60} {found.total():>7} {missed.total():>9}")
    sampled, differs = sum(o.sampled for o in outcomes), sum(o.sample_differs for o in outcomes)
    by_full = sum((outcome.by_full for outcome in outcomes), Counter[str]())
    kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(by_full.items()) if number)
    print(f"decided by the full verification only: {by_full.total()} ({kinds})")
    print(f"verified in full as well: {sampled}, with another outcome: {differs}")
    print(f"chain verified after everything was put right: {all(o.sound_after for o in outcomes)}")
    return not missed and not differs and all(o.sound_after for o in outcomes)


def _share(root: Path, flips: list[Flip]) -> Table:
    layout = ChainLayout(root)
    return byteflips.run_flips(layout, layout.live_ledger() / "data.mdb", flips)


def exhaustive(jobs: int, directory: Path, part: int = 1, parts: int = 1) -> bool:
    """Print the table of every byte of a small chain; whether each change was judged rightly."""
    begun = time.monotonic()
    (directory / "0").mkdir()
    with small_chain(directory / "0" / "chain") as chain:
        layout = chain.layout
    for job in range(1, jobs):
        shutil.copytree(directory / "0", directory / str(job))
    data = layout.live_ledger() / "data.mdb"
    flips = list(byteflips.flips_of(data.stat().st_size))[part - 1 :: parts]
    tasks = [(directory / str(job) / "chain", flips[job::jobs]) for job in range(jobs)]
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        tables = pool.starmap(_share, tasks)
    ledger = Table()
    for table in tables:
        ledger.merge(table)
    note = Table()
    if part == 1:
        note = byteflips.run_flips(layout, layout.checkpoint, byteflips.flips_of(layout.checkpoint.stat().st_size))
    print(f"part {part} of {parts}: {len(flips)} flips")
    for name, size, table in (
        ("data.mdb", data.stat().st_size, ledger),
        ("checkpoint", layout.checkpoint.stat().st_size, note),
    ):
        print(f"{name}: {size} bytes, each flipped in all bits and in one")
        for outcome, count in byteflips.describe(table):
            print(f"    {outcome:<30} {count:>8}")
        for what, places in (("missed", table.missed), ("false alarm", table.alarms)):
            for offset, mask in places[:20]:
                print(f"    {what}: offset {offset}, mask {mask:#04x}")
    print(f"{time.monotonic() - begun:.0f} s")
    return not (ledger.missed or ledger.alarms or note.missed or note.alarms)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--chain-transactions", type=int, default=100_000)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--exhaustive", action="store_true", help="every byte of a small chain instead")
    parser.add_argument(
        "--part", default="1/1", metavar="I/N", help="of --exhaustive: every N-th flip, from the I-th on"
    )
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="scichain-flips-") as name:
        if options.exhaustive:
            part, parts = map(int, options.part.split("/"))
            return 0 if exhaustive(options.jobs, Path(name), part, parts) else 1
        print(f"seed {seed}", flush=True)
        return 0 if big(options.chain_transactions, options.mutations, seed, options.jobs, Path(name)) else 1


if __name__ == "__main__":
    sys.exit(main())
