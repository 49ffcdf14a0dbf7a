"""Compare the library's Merkle trees with the RFC's recursion on random trees, and try to pass off altered proofs.

Every tree has its own generator, seeded with `<seed>/<number>`, so a failure names what replays it:
`python -m tests.oracles.compare_merkle --trees 10000 --seed 1` (or `--first <number> --trees 1`).

A wrong *size* is a special case: a root does not commit to the number of leaves, and several sizes give a path the same
shape. There the RFC's recursion, run backwards, decides what must be refused, and the summary counts the rest apart.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterator, Sequence

from scichain_wf.crypto import merkle
from scichain_wf.errors import VerificationError
from tests.oracles import merkle as oracle

INDEXES_PER_TREE = 3
OLD_SIZES_PER_TREE = 3


class Mismatch(AssertionError):
    """Library and oracle disagree."""


def compare(trees: int, seed: int, first: int = 0) -> Counter[str]:
    """Compare trees `first` to `first + trees - 1` of `seed`; counts of what was compared and refused.

    Raises:
        Mismatch: naming seed and tree.
    """
    counts: Counter[str] = Counter()
    for number in range(first, first + trees):
        try:
            _compare_tree(random.Random(f"{seed}/{number}"), counts)
        except (Mismatch, VerificationError) as error:  # the latter: a valid proof was refused
            raise Mismatch(f"{error} (--seed {seed} --first {number} --trees 1)") from None
    return counts


def _compare_tree(rng: random.Random, counts: Counter[str]) -> None:
    size = _random_size(rng)
    data = [number.to_bytes(2, "big") + rng.randbytes(rng.randrange(6)) for number in range(size)]
    leaves = [merkle.leaf_hash(entry) for entry in data]
    nodes: dict[tuple[int, int], bytes] = {}
    compact = merkle.CompactRange()
    for leaf in leaves:
        nodes.update({(level, index): node for level, index, node in compact.append(leaf)})
    complete = {(level, index) for level in range(size.bit_length()) for index in range(size >> level)}
    _same("complete nodes", set(nodes), complete)
    for (level, index), node in nodes.items():
        _same("node", node, oracle.mth(data[index << level : (index + 1) << level]))

    def read(level: int, index: int) -> bytes:
        return nodes[level, index]

    root = oracle.mth(data)
    for found in (merkle.root(leaves), compact.root(), merkle.root_from(read, size)):
        _same("root", found, root)
    _same("resumed", merkle.CompactRange(size, compact.nodes).root(), root)
    counts["trees"] += 1
    for index in _some(rng, range(size), INDEXES_PER_TREE):
        path = oracle.path(index, data)
        _same("inclusion path", merkle.inclusion_path(leaves, index), path)
        _same("inclusion path from nodes", merkle.inclusion_path_from(read, index, size), path)
        merkle.verify_inclusion(leaves[index], index, size, path, root)
        counts["inclusion paths"] += 1
        _alter_inclusion(rng, leaves[index], index, size, path, root, counts)
    for old in _some(rng, range(1, size + 1), OLD_SIZES_PER_TREE):
        old_root, path = oracle.mth(data[:old]), oracle.proof(old, data)
        _same("old root", merkle.root_from(read, old), old_root)
        _same("consistency path", merkle.consistency_path(leaves, old), path)
        _same("consistency path from nodes", merkle.consistency_path_from(read, old, size), path)
        merkle.verify_consistency(old, old_root, size, root, path)
        counts["consistency paths"] += 1
        _alter_consistency(rng, old, old_root, size, root, path, counts)


def _alter_inclusion(
    rng: random.Random, leaf: bytes, index: int, size: int, path: list[bytes], root: bytes, counts: Counter[str]
) -> None:
    """Every alteration of a valid inclusion proof must be refused."""
    altered = [(leaf, index, size, other, root) for other in _altered_paths(rng, path)]
    altered += [(_flipped(rng, leaf), index, size, path, root), (leaf, index, size, path, _flipped(rng, root))]
    altered += [(leaf, other, size, path, root) for other in _neighbours(rng, index, size) if other != index]
    for claim in altered:
        _same("alteration refused", _refused_inclusion(*claim), True)
        counts["alterations refused"] += 1
    for other in _neighbours(rng, size, 2 * size):
        legitimate = oracle.root_of_path(index, other, leaf, path) == root
        _same("wrong size refused", _refused_inclusion(leaf, index, other, path, root), not legitimate)
        counts["same shape at another size" if legitimate else "alterations refused"] += other != size


def _alter_consistency(
    rng: random.Random, old: int, old_root: bytes, size: int, root: bytes, path: list[bytes], counts: Counter[str]
) -> None:
    """Every alteration of a valid consistency proof must be refused."""
    altered = [(old_root, root, other) for other in _altered_paths(rng, path)]
    altered += [(_flipped(rng, old_root), root, path), (old_root, _flipped(rng, root), path)]
    for old_claimed, new_claimed, claimed in altered:
        _same("alteration refused", _refused_consistency(old, old_claimed, size, new_claimed, claimed), True)
        counts["alterations refused"] += 1
    sizes = [(other, size) for other in _neighbours(rng, old, size)]
    sizes += [(old, other) for other in _neighbours(rng, size, 2 * size)]
    for wrong_old, wrong_new in sizes:
        legitimate = oracle.roots_of_proof(wrong_old, wrong_new, old_root, path) == (old_root, root)
        refused = _refused_consistency(wrong_old, old_root, wrong_new, root, path)
        _same("wrong size refused", refused, not legitimate)
        kind = "same shape at another size" if legitimate else "alterations refused"
        counts[kind] += (wrong_old, wrong_new) != (old, size)


def _altered_paths(rng: random.Random, path: list[bytes]) -> Iterator[list[bytes]]:
    """`path` with a bit flipped in each hash, each hash dropped or cut, one added at each place, neighbours swapped."""
    for position, node in enumerate(path):
        yield [*path[:position], _flipped(rng, node), *path[position + 1 :]]
        yield [*path[:position], *path[position + 1 :]]
        yield [*path[:position], node[:-1], *path[position + 1 :]]
    for position in range(len(path) + 1):
        yield [*path[:position], rng.randbytes(32), *path[position:]]
    for position in range(len(path) - 1):
        yield [*path[:position], path[position + 1], path[position], *path[position + 2 :]]


def _neighbours(rng: random.Random, value: int, end: int) -> list[int]:
    """Numbers near `value` and anywhere below `end`, among them `value` itself and impossible ones."""
    return [-1, 0, value - 1, value, value + 1, value ^ 1, value * 2, rng.randrange(end)]


def _random_size(rng: random.Random) -> int:
    """Mostly small, sometimes around a power of two, sometimes hundreds of leaves."""
    kind = rng.random()
    if kind < 0.7:
        return rng.randint(1, 40)
    if kind < 0.95:
        return max(1, (1 << rng.randint(0, 7)) + rng.randint(-1, 1))
    return rng.randint(100, 400)


def _some(rng: random.Random, numbers: range, count: int) -> Sequence[int]:
    return rng.sample(numbers, min(count, len(numbers)))


def _flipped(rng: random.Random, value: bytes) -> bytes:
    return (int.from_bytes(value, "big") ^ 1 << rng.randrange(8 * len(value))).to_bytes(len(value), "big")


def _refused_inclusion(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> bool:
    try:
        merkle.verify_inclusion(leaf, index, size, path, root)
    except VerificationError:
        return True
    return False


def _refused_consistency(old: int, old_root: bytes, new: int, new_root: bytes, path: list[bytes]) -> bool:
    try:
        merkle.verify_consistency(old, old_root, new, new_root, path)
    except VerificationError:
        return True
    return False


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise Mismatch(f"{what}: library {found!r}, RFC {expected!r}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Compare Merkle trees with the recursion of RFC 6962.")
    parser.add_argument("--trees", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    counts = compare(arguments.trees, arguments.seed, arguments.first)
    print(f"seed {arguments.seed}: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()))


if __name__ == "__main__":
    main()
