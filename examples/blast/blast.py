"""Parallel BLAST with Parsl, recorded: python blast.py [--executor NAME] [--chunks N].

Made-up queries are split into chunks, which are searched side by side in a database of made-up proteins; the best hit
of each query is written to results/best.tsv. Needs blastp and makeblastdb (Debian: apt install ncbi-blast+).
"""

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import parsl
from parsl import File, bash_app, python_app
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import LocalProvider

from scichain_parsl import NodeExecutor, scichain_config, traced

SCRIPT, SEED = "simulate.py", 4711
DATABASE = "data/proteins"
INDEX = (".phr", ".pin", ".psq")

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
@bash_app
def simulate(seed: int, inputs: Sequence[File] = (), outputs: Sequence[File] = ()) -> str:
    """Make up proteins, queries, and what the search should find."""
    return f"python3 {inputs[0]} {seed} {outputs[0]} {outputs[1]} {outputs[2]}"


@traced
@bash_app
def index(database: str, inputs: Sequence[File] = (), outputs: Sequence[File] = ()) -> str:  # noqa: ARG001 - recorded
    """Make a database that BLAST can search; its files are named after it."""
    return f"makeblastdb -dbtype prot -blastdb_version 4 -in {inputs[0]} -out {database} > /dev/null"


@traced
@python_app
def split(inputs: Sequence[File] = (), outputs: Sequence[File] = ()) -> None:
    """Deal the queries out to chunks."""
    with open(inputs[0], encoding="ascii") as file:
        queries = file.read().split(">")[1:]
    for number, chunk in enumerate(outputs):
        with open(chunk, "w", encoding="ascii") as file:
            file.writelines(f">{query}" for query in queries[number :: len(outputs)])


@traced
@bash_app
def search(database: str, inputs: Sequence[File] = (), outputs: Sequence[File] = ()) -> str:
    """Search one chunk of queries in the database, whose files are the other inputs."""
    return (  # BLAST+ tells its makers that it is used, unless it is told not to
        "BLAST_USAGE_REPORT=false blastp -evalue 1e-10 -outfmt 6 "
        f"-query {inputs[0]} -db {database} -out {outputs[0]}"
    )


@traced
@python_app
def best(inputs: Sequence[File] = (), outputs: Sequence[File] = ()) -> int:
    """Write the best hit of each query, and return how many queries have one."""
    found: dict[str, tuple[float, list[str]]] = {}
    for hits in inputs:
        with open(hits, encoding="ascii") as file:
            for query, subject, identity, *_, expected, bits in map(str.split, file):
                if query not in found or float(bits) > found[query][0]:
                    found[query] = float(bits), [query, subject, identity, expected, bits]
    with open(outputs[0], "w", encoding="ascii") as table:
        table.write("query\tsubject\tidentity_percent\te_value\tbit_score\n")
        table.writelines("\t".join(row) + "\n" for _, (_, row) in sorted(found.items()))
    return len(found)


def files(*paths: str) -> list[File]:
    """Parsl's way to say that an argument is a file."""
    return [File(path) for path in paths]


def run(chunks: int) -> int:
    """The workflow; returns how many queries have a hit."""
    made = simulate(
        SEED, inputs=files(SCRIPT), outputs=files(f"{DATABASE}.fa", "data/queries.fa", "data/truth.tsv")
    )
    proteins, queries, _ = made.outputs
    indexed = index(DATABASE, inputs=[proteins], outputs=files(*(DATABASE + suffix for suffix in INDEX)))
    parts = split(inputs=[queries], outputs=files(*(f"data/queries.{number}.fa" for number in range(chunks))))
    searched = [
        search(DATABASE, inputs=[part, *indexed.outputs], outputs=files(f"results/hits.{number}.tsv"))
        for number, part in enumerate(parts.outputs)
    ]
    hits = best(inputs=[chunk.outputs[0] for chunk in searched], outputs=files("results/best.tsv"))
    count: int = hits.result()
    return count


def main() -> None:
    """Run it in the current directory, and record it there."""
    parser = argparse.ArgumentParser(description="Parallel BLAST with Parsl, recorded.")
    parser.add_argument("--executor", choices=EXECUTORS, default="htex", help="which of Parsl's executors runs it")
    parser.add_argument("--chunks", type=int, choices=range(1, 61), default=4, metavar="1..60", help="of the queries")
    given = parser.parse_args()
    if missing := [program for program in ("makeblastdb", "blastp") if shutil.which(program) is None]:
        parser.error(f"not installed: {', '.join(missing)} (Debian: apt install ncbi-blast+)")
    if not Path(SCRIPT).is_file():
        parser.error(f"no {SCRIPT} here: run this in a copy of the example's directory")
    for directory in ("data", "results"):
        Path(directory).mkdir(exist_ok=True)
    with parsl.load(scichain_config(executors=[EXECUTORS[given.executor]()])):
        print(f"{run(given.chunks)} queries have a hit: results/best.tsv")


if __name__ == "__main__":
    main()
