"""Makes up a genome, samples that differ from it, and their reads: simulate.py SEED GENOME READS... TRUTH."""

import random
import sys

LENGTH, READ, DEPTH, VARIANTS = 4_000, 100, 20, 8
OTHER = {"A": "G", "C": "T", "G": "A", "T": "C"}
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def reads(name: str, copies: list[str], rng: random.Random) -> str:
    """FASTQ of one sample: from both copies of its genome, in both directions, without errors."""
    records = []
    for number in range(LENGTH * DEPTH // READ):
        copy = rng.choice(copies)
        start = rng.randrange(LENGTH - READ)
        read = copy[start : start + READ]
        if rng.random() < 0.5:
            read = read[::-1].translate(COMPLEMENT)
        records.append(f"@{name}.{number}\n{read}\n+\n{'I' * READ}\n")
    return "".join(records)


def main(seed: str, genome_path: str, *paths: str) -> None:
    """Write everything; the same seed makes the same bytes."""
    rng = random.Random(int(seed))
    genome = "".join(rng.choices("ACGT", k=LENGTH))
    positions = sorted(rng.sample(range(READ, LENGTH - READ), VARIANTS))
    with open(genome_path, "w", encoding="ascii") as file:
        file.write(f">tiny\n{genome}\n")
    *read_paths, truth_path = paths
    for path in read_paths:
        copies = []
        for _ in range(2):
            copy = list(genome)
            for position in positions:
                if rng.random() < 0.5:
                    copy[position] = OTHER[genome[position]]
            copies.append("".join(copy))
        with open(path, "w", encoding="ascii") as file:
            file.write(reads(path.rpartition("/")[2].removesuffix(".fq"), copies, rng))
    with open(truth_path, "w", encoding="ascii") as file:
        file.writelines(f"{at + 1}\t{genome[at]}\t{OTHER[genome[at]]}\n" for at in positions)


if __name__ == "__main__":
    main(*sys.argv[1:])
