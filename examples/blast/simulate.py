"""Makes up protein families and queries: simulate.py SEED PROTEINS QUERIES TRUTH."""

import random
import sys

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
FAMILIES, MEMBERS, LENGTH = 20, 10, 250
QUERIES, STRANGERS = 50, 10
"""Queries that are of a family, and those that are of none."""
MUTATED = 0.25


def mutated(protein: str, rng: random.Random) -> str:
    """A relative: some residues are others."""
    return "".join(rng.choice(AMINO_ACIDS) if rng.random() < MUTATED else residue for residue in protein)


def main(seed: str, proteins_path: str, queries_path: str, truth_path: str) -> None:
    """Write everything; the same seed makes the same bytes."""
    rng = random.Random(int(seed))
    founders = ["".join(rng.choices(AMINO_ACIDS, k=LENGTH)) for _ in range(FAMILIES)]
    with open(proteins_path, "w", encoding="ascii") as proteins:
        for family, founder in enumerate(founders):
            proteins.writelines(f">family{family:02}.{member}\n{mutated(founder, rng)}\n" for member in range(MEMBERS))
    with open(queries_path, "w", encoding="ascii") as queries, open(truth_path, "w", encoding="ascii") as truth:
        for number in range(QUERIES + STRANGERS):
            if number < QUERIES:
                family = rng.randrange(FAMILIES)
                name, protein = f"family{family:02}", mutated(founders[family], rng)
            else:
                name, protein = "none", "".join(rng.choices(AMINO_ACIDS, k=LENGTH))
            start = rng.randrange(LENGTH // 2)
            queries.write(f">query{number:02}\n{protein[start : start + LENGTH // 2]}\n")
            truth.write(f"query{number:02}\t{name}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
