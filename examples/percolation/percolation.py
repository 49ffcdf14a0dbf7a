"""At which density does a random grid begin to conduct? A parameter study with Parsl, recorded.

    python percolation.py [--executor NAME]

Random grids of each density are made on and on, and those counted that can be crossed from top to bottom over
occupied cells. The curve is written to curve.tsv; where it crosses one half is the threshold. For an infinite grid that
is known to be 0.5927. Needs nothing but Parsl.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import parsl
from parsl import File, python_app
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import LocalProvider

from scichain_parsl import NodeExecutor, scichain_config, traced

DENSITIES = [round(0.50 + 0.02 * step, 2) for step in range(10)]
SEEDS = range(4)
GRIDS, SIDE = 50, 32

EXECUTORS: dict[str, Callable[[], Any]] = {
    "htex": lambda: HighThroughputExecutor(label="htex", address="127.0.0.1", max_workers_per_node=2),
    "threads": lambda: ThreadPoolExecutor(label="threads", max_threads=2),
    "nodes": lambda: NodeExecutor(
        "nodes",
        LocalProvider(init_blocks=3, max_blocks=3),  # type: ignore[no-untyped-call]
        workers_per_node=1,
    ),
}


@traced
@python_app
def conducting(density: float, seed: int, grids: int, side: int) -> int:
    """How many of some random grids conduct."""
    from random import Random

    rng = Random(f"{density} {seed}")

    def conducts() -> bool:
        free = {(row, column) for row in range(side) for column in range(side) if rng.random() < density}
        reached = [cell for cell in free if cell[0] == 0]
        while reached:
            row, column = reached.pop()
            if row == side - 1:
                return True
            around = {(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)} & free
            free -= around
            reached.extend(around)
        return False

    return sum(conducts() for _ in range(grids))


@traced
@python_app
def share(grids: int, inputs: Sequence[int] = ()) -> float:
    """Which share of the grids of one density conducts."""
    return sum(inputs) / (grids * len(inputs))


@traced
@python_app
def curve(densities: list[float], inputs: Sequence[float] = (), outputs: Sequence[File] = ()) -> None:
    """Write the table."""
    with open(outputs[0], "w", encoding="ascii") as table:
        table.write("density\tconducting\n")
        table.writelines(f"{density}\t{found}\n" for density, found in zip(densities, inputs, strict=True))


@traced
@python_app
def threshold(inputs: Sequence[File] = ()) -> float:
    """The density at which half of the grids conduct, from the table."""
    from itertools import pairwise

    with open(inputs[0], encoding="ascii") as table:
        points = [tuple(map(float, line.split())) for line in list(table)[1:]]
    (x, low), (further, high) = next(pair for pair in pairwise(points) if pair[0][1] < 0.5 <= pair[1][1])
    return round(x + (further - x) * (0.5 - low) / (high - low), 4)


def run() -> float:
    """The study; returns the threshold."""
    counts = {density: [conducting(density, seed, GRIDS, SIDE) for seed in SEEDS] for density in DENSITIES}
    shares = [share(GRIDS, inputs=counts[density]) for density in DENSITIES]
    table = curve(DENSITIES, inputs=shares, outputs=[File("curve.tsv")])
    found: float = threshold(inputs=table.outputs).result()
    return found


def main() -> None:
    """Run it in the current directory, and record it there."""
    parser = argparse.ArgumentParser(description="The threshold of percolation with Parsl, recorded.")
    parser.add_argument("--executor", choices=EXECUTORS, default="htex", help="which of Parsl's executors runs it")
    given = parser.parse_args()
    with parsl.load(scichain_config(executors=[EXECUTORS[given.executor]()])):
        print(f"half of the grids conduct at a density of {run()}")


if __name__ == "__main__":
    main()
