"""What `mining = race` costs and gains against `own`, for docs/adr/0003-mining-own.md.

    python -m tests.benchmarks.race_costs

One block is proposed while every other node is idle: the best case of a race. A search is a Poisson process, so the
time to a solution is exponential; `--delay-us` is one way between two nodes. In a race the peers begin one delay after
the proposer, their solution takes one delay back, and they stop one delay after the proposer knows one. Printed: the
mean time until the proposer has a solution, and the mean number of hashes that all nodes together spent. Seeded, so
that the same arguments print the same table.
"""

from __future__ import annotations

import argparse
import random
from statistics import fmean


def race(rng: random.Random, nodes: int, mean_s: float, hashes_per_s: int, delay_s: float) -> tuple[float, float]:
    """(seconds until the proposer has a solution, hashes of all nodes) of one block."""
    own = rng.expovariate(1 / mean_s)
    peers = [rng.expovariate(1 / mean_s) for _ in range(nodes - 1)]
    known = min([own, *(delay_s + search + delay_s for search in peers)])
    # A peer searches from its first delay until the proposal reaches it, or until it has solved the puzzle itself.
    return known, hashes_per_s * (known + sum(min(search, known) for search in peers))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hashes-per-s", type=int, default=500_000)
    parser.add_argument("--delay-us", type=float, default=250.0)
    parser.add_argument("--blocks", type=int, default=2_000)
    arguments = parser.parse_args()
    delay_s = arguments.delay_us / 1e6
    print("| difficulty | nodes | own: ms | race: ms | own: hashes | race: hashes | race / own |")
    print("|---|---|---|---|---|---|---|")
    for difficulty in range(1, 7):
        for nodes in (4, 100, 1_024):
            rng = random.Random(f"{difficulty} {nodes}")
            mean_s = 16**difficulty / arguments.hashes_per_s
            runs = [race(rng, nodes, mean_s, arguments.hashes_per_s, delay_s) for _ in range(arguments.blocks)]
            times_s, hashes = (fmean(column) for column in zip(*runs, strict=True))
            print(
                f"| {difficulty} | {nodes:,} | {mean_s * 1e3:,.2f} | {times_s * 1e3:,.2f} "
                f"| {16**difficulty:,} | {hashes:,.0f} | {hashes / 16**difficulty:,.2f} |"
            )


if __name__ == "__main__":
    main()
