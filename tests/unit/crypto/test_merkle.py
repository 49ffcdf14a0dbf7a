"""RFC 6962 trees: known vectors, properties against the naive recursion, and every refusal."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.crypto import merkle
from scichain_wf.crypto.merkle import CompactRange
from scichain_wf.errors import UsageError, VerificationError
from tests.oracles import merkle as oracle
from tests.oracles.compare_merkle import compare

# Certificate Transparency's own vectors (certificate-transparency, cpp/merkletree/merkle_tree_test.cc).
DATA = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAF_0 = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
LEAF_1 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
LEAF_4 = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
NODE_2_3 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
NODE_4_5 = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
NODE_6_7 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
NODE_0_3 = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"
NODE_4_7 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
INCLUSIONS = [
    (0, 1, []),
    (0, 8, [LEAF_1, NODE_2_3, NODE_4_7]),
    (5, 8, [LEAF_4, NODE_6_7, NODE_0_3]),
    (2, 3, [ROOTS[1]]),
    (1, 5, [LEAF_0, NODE_2_3, LEAF_4]),
]
CONSISTENCIES = [
    (1, 1, []),
    (1, 8, [LEAF_1, NODE_2_3, NODE_4_7]),
    (6, 8, [NODE_4_5, NODE_6_7, NODE_0_3]),
    (2, 5, [NODE_2_3, LEAF_4]),
]
LEAVES = [merkle.leaf_hash(data) for data in DATA]

leaf_lists = st.lists(st.binary(max_size=4), min_size=1, max_size=40)


def reader(leaves: list[bytes]) -> Callable[[int, int], bytes]:
    """Complete nodes as a store would keep them: those that appending the leaves returned, and no others."""
    nodes = {}
    tree = CompactRange()
    for leaf in leaves:
        nodes.update({(level, index): node for level, index, node in tree.append(leaf)})
    return lambda level, index: nodes[level, index]


def numbered(count: int) -> list[bytes]:
    """Leaf hashes that are all different."""
    return [merkle.leaf_hash(number.to_bytes(2, "big")) for number in range(count)]


# --- known vectors ----------------------------------------------------------------------------------
def test_empty_tree_has_the_hash_of_nothing_as_its_root() -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.EMPTY_ROOT.hex() == empty
    assert merkle.root([]) == CompactRange().root() == merkle.root_from(reader([]), 0) == merkle.EMPTY_ROOT
    assert oracle.mth([]) == merkle.EMPTY_ROOT


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert oracle.mth(DATA[:size]).hex() == ROOTS[size - 1]
    assert merkle.root(LEAVES[:size]).hex() == ROOTS[size - 1]
    assert merkle.root_from(reader(LEAVES), size).hex() == ROOTS[size - 1]


@pytest.mark.parametrize(("index", "size", "expected"), INCLUSIONS)
def test_inclusion_paths_are_those_of_certificate_transparency(index: int, size: int, expected: list[str]) -> None:
    path = merkle.inclusion_path(LEAVES[:size], index)
    assert [node.hex() for node in path] == expected
    assert oracle.path(index, DATA[:size]) == path
    merkle.verify_inclusion(LEAVES[index], index, size, path, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("old", "new", "expected"), CONSISTENCIES)
def test_consistency_paths_are_those_of_certificate_transparency(old: int, new: int, expected: list[str]) -> None:
    path = merkle.consistency_path(LEAVES[:new], old)
    assert [node.hex() for node in path] == expected
    assert oracle.proof(old, DATA[:new]) == path
    merkle.verify_consistency(old, bytes.fromhex(ROOTS[old - 1]), new, bytes.fromhex(ROOTS[new - 1]), path)


def test_many_leaves_have_the_hashes_that_each_has_alone() -> None:
    assert merkle.leaf_hashes(iter(DATA)) == [merkle.leaf_hash(data) for data in DATA] == LEAVES
    assert merkle.leaf_hashes([]) == []


# --- against the recursion of the RFC ---------------------------------------------------------------
def test_random_trees_agree_with_the_recursion_and_no_altered_proof_passes() -> None:
    counts = compare(trees=600, seed=20)
    assert counts["trees"] == 600
    assert counts["alterations refused"] > 50_000


def test_every_tree_of_up_to_33_leaves_agrees_with_the_recursion() -> None:
    data = [number.to_bytes(2, "big") for number in range(33)]
    leaves = numbered(33)
    node = reader(leaves)
    for size in range(1, 34):
        root = oracle.mth(data[:size])
        assert merkle.root_from(node, size) == root
        for index in range(size):
            path = merkle.inclusion_path_from(node, index, size)
            assert path == oracle.path(index, data[:size])
            merkle.verify_inclusion(leaves[index], index, size, path, root)
        for old in range(1, size + 1):
            path = merkle.consistency_path_from(node, old, size)
            assert path == oracle.proof(old, data[:size])
            merkle.verify_consistency(old, merkle.root(leaves[:old]), size, root, path)


@given(leaf_lists)
def test_append_returns_each_complete_node_exactly_once(data: list[bytes]) -> None:
    tree, seen = CompactRange(), []
    for number, entry in enumerate(data):
        completed = tree.append(merkle.leaf_hash(entry))
        assert [level for level, _, _ in completed] == list(range(len(completed)))
        assert all((index + 1) << level == number + 1 for level, index, _ in completed)
        seen += [(level, index) for level, index, _ in completed]
        assert tree.size == number + 1
        assert tree.root() == oracle.mth(data[: number + 1])
    assert len(seen) == len(set(seen)) == sum(len(data) >> level for level in range(len(data).bit_length()))


@given(leaf_lists, st.data())
def test_accumulator_resumes_from_its_nodes(data: list[bytes], draw: st.DataObject) -> None:
    stop = draw.draw(st.integers(0, len(data)))
    first = CompactRange()
    for entry in data[:stop]:
        first.append(merkle.leaf_hash(entry))
    second = CompactRange(first.size, first.nodes)
    for entry in data[stop:]:
        second.append(merkle.leaf_hash(entry))
    assert second.root() == oracle.mth(data)
    assert first.root() == oracle.mth(data[:stop])


@pytest.mark.parametrize("size", [1_000, 1_024, 1_025, 4_095])
def test_a_path_reads_few_complete_nodes(size: int) -> None:
    node, reads = reader(numbered(size)), 0

    def counting(level: int, index: int) -> bytes:
        nonlocal reads
        reads += 1
        return node(level, index)

    for index in (0, size // 2, size - 1):
        reads = 0
        merkle.inclusion_path_from(counting, index, size)
        assert reads <= 2 * size.bit_length()
        reads = 0
        merkle.consistency_path_from(counting, index, size)
        assert reads <= 3 * size.bit_length()


def test_paths_in_the_largest_tree_stay_within_the_limit() -> None:
    size = limits.INTEGER_MAX
    for index in (0, size // 3, size - 1):
        path = merkle.inclusion_path_from(lambda _level, _index: LEAVES[0], index, size)
        assert len(path) <= limits.PROOF_NODES_MAX
        path = merkle.consistency_path_from(lambda _level, _index: LEAVES[0], index, size)
        assert len(path) <= limits.PROOF_NODES_MAX


# --- misuse -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("size", "nodes"), [(0, 1), (1, 0), (3, 1), (4, 2), (7, 2)])
def test_accumulator_refuses_nodes_that_do_not_fit_its_size(size: int, nodes: int) -> None:
    with pytest.raises(UsageError, match="perfect subtrees"):
        CompactRange(size, LEAVES[:nodes])


def test_accumulator_refuses_a_hash_of_another_length_and_keeps_its_state() -> None:
    tree = CompactRange(1, LEAVES[:1])
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(UsageError, match="32 bytes"):
            tree.append(wrong)
        with pytest.raises(UsageError, match="32 bytes"):
            CompactRange(1, [wrong])
    assert (tree.size, tree.nodes) == (1, (LEAVES[0],))


@pytest.mark.parametrize("size", [-1, limits.INTEGER_MAX + 1])
def test_a_size_out_of_bounds_is_refused(size: int) -> None:
    node = reader([])
    for call in (
        lambda: CompactRange(size),
        lambda: merkle.root_from(node, size),
        lambda: merkle.inclusion_path_from(node, 0, size),
        lambda: merkle.consistency_path_from(node, 0, size),
    ):
        with pytest.raises(UsageError, match="a tree has between"):
            call()


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_a_path_for_a_leaf_that_does_not_exist_is_refused(index: int, size: int) -> None:
    with pytest.raises(UsageError, match=f"no leaf {index} "):
        merkle.inclusion_path(LEAVES[:size], index)


@pytest.mark.parametrize("old", [-1, 4])
def test_a_consistency_path_from_a_size_that_never_was_is_refused(old: int) -> None:
    with pytest.raises(UsageError, match="no earlier state"):
        merkle.consistency_path(LEAVES[:3], old)


# --- proofs that do not hold ------------------------------------------------------------------------
@pytest.mark.parametrize(("index", "size"), [(-1, 8), (8, 8), (0, 0), (0, limits.INTEGER_MAX + 1)])
def test_inclusion_of_a_leaf_that_cannot_exist_is_refused(index: int, size: int) -> None:
    with pytest.raises(VerificationError, match="no such leaf"):
        merkle.verify_inclusion(LEAVES[0], index, size, [], merkle.root(LEAVES))


def test_inclusion_proof_with_another_number_of_hashes_is_refused() -> None:
    path, root = merkle.inclusion_path(LEAVES, 5), merkle.root(LEAVES)
    with pytest.raises(VerificationError, match="too few hashes"):
        merkle.verify_inclusion(LEAVES[5], 5, 8, path[:-1], root)
    with pytest.raises(VerificationError, match="too many hashes"):
        merkle.verify_inclusion(LEAVES[5], 5, 8, [*path, LEAVES[0]], root)
    with pytest.raises(VerificationError, match="over the limit"):
        merkle.verify_inclusion(LEAVES[5], 5, 8, [LEAVES[0]] * (limits.PROOF_NODES_MAX + 1), root)


def test_inclusion_proof_that_leads_elsewhere_names_both_roots() -> None:
    path, root = merkle.inclusion_path(LEAVES, 5), merkle.root(LEAVES)
    with pytest.raises(VerificationError, match=f"leaf 5 in a tree of 8 leaves leads to root .*, not to {root.hex()}"):
        merkle.verify_inclusion(LEAVES[4], 5, 8, path, root)


def test_hashes_of_another_length_are_refused_even_where_their_concatenation_is_right() -> None:
    left, right = LEAVES[:2]
    root = merkle.node_hash(left, right)
    leaf, sibling = left + right[:1], right[1:]
    assert merkle.node_hash(leaf, sibling) == root
    with pytest.raises(VerificationError, match="not 32 bytes"):
        merkle.verify_inclusion(leaf, 0, 2, [sibling], root)
    with pytest.raises(VerificationError, match="not 32 bytes"):
        merkle.verify_consistency(1, leaf, 2, root, [sibling])
    with pytest.raises(VerificationError, match="not 32 bytes"):
        merkle.verify_consistency(1, b"", 1, b"", [])


@pytest.mark.parametrize("length", [0, 31, 33])
def test_one_hash_of_another_length_is_refused_wherever_it_is(length: int) -> None:
    path, root, wrong = merkle.inclusion_path(LEAVES, 5), merkle.root(LEAVES), bytes(length)
    refused = "inclusion proof of leaf 5 in a tree of 8 leaves holds a hash that is not 32 bytes"
    for leaf, proof, top in ((wrong, path, root), (LEAVES[5], path, wrong), (LEAVES[5], [*path[:-1], wrong], root)):
        with pytest.raises(VerificationError, match=refused):
            merkle.verify_inclusion(leaf, 5, 8, proof, top)
    path, old = merkle.consistency_path(LEAVES, 3), merkle.root(LEAVES[:3])
    refused = "consistency proof from 3 to 8 leaves holds a hash that is not 32 bytes"
    for before, proof, after in ((wrong, path, root), (old, path, wrong), (old, [*path[:-1], wrong], root)):
        with pytest.raises(VerificationError, match=refused):
            merkle.verify_consistency(3, before, 8, after, proof)


def test_a_proof_may_have_just_as_many_hashes_as_the_limit_says() -> None:
    longest = [LEAVES[0]] * limits.PROOF_NODES_MAX
    with pytest.raises(VerificationError, match="too many hashes"):
        merkle.verify_inclusion(LEAVES[0], 0, 8, longest, merkle.root(LEAVES))
    with pytest.raises(VerificationError, match="too many hashes"):
        merkle.verify_consistency(3, LEAVES[0], 8, merkle.root(LEAVES), longest)


def test_the_largest_tree_can_be_verified() -> None:
    last, siblings = limits.INTEGER_MAX - 1, (limits.INTEGER_MAX - 1).bit_count()
    root = LEAVES[0]
    for _ in range(siblings):  # the last leaf of the largest tree is a right child on every level that has a sibling
        root = merkle.node_hash(LEAVES[1], root)
    merkle.verify_inclusion(LEAVES[0], last, limits.INTEGER_MAX, [LEAVES[1]] * siblings, root)
    merkle.verify_consistency(limits.INTEGER_MAX, root, limits.INTEGER_MAX, root, [])


@pytest.mark.parametrize(("old", "new"), [(-1, 8), (9, 8), (1, limits.INTEGER_MAX + 1)])
def test_consistency_of_sizes_that_cannot_be_is_refused(old: int, new: int) -> None:
    with pytest.raises(VerificationError, match="does not shrink"):
        merkle.verify_consistency(old, LEAVES[0], new, merkle.root(LEAVES), [])


@pytest.mark.parametrize("old", [3, 4])
def test_consistency_proof_with_another_number_of_hashes_is_refused(old: int) -> None:
    path, roots = merkle.consistency_path(LEAVES, old), (merkle.root(LEAVES[:old]), merkle.root(LEAVES))
    with pytest.raises(VerificationError, match="too few hashes"):
        merkle.verify_consistency(old, roots[0], 8, roots[1], path[:-1])
    with pytest.raises(VerificationError, match="too few hashes"):
        merkle.verify_consistency(old, roots[0], 8, roots[1], [])
    with pytest.raises(VerificationError, match="too many hashes"):
        merkle.verify_consistency(old, roots[0], 8, roots[1], [*path, LEAVES[0]])


def test_consistency_proof_says_which_root_is_another() -> None:
    path, old, new = merkle.consistency_path(LEAVES, 3), merkle.root(LEAVES[:3]), merkle.root(LEAVES)
    with pytest.raises(VerificationError, match="another old root"):
        merkle.verify_consistency(3, new, 8, new, path)
    with pytest.raises(VerificationError, match="another new root"):
        merkle.verify_consistency(3, old, 8, old, path)


def test_every_tree_begins_with_the_empty_one() -> None:
    assert merkle.consistency_path(LEAVES, 0) == merkle.consistency_path([], 0) == []
    merkle.verify_consistency(0, merkle.EMPTY_ROOT, 8, merkle.root(LEAVES), [])
    merkle.verify_consistency(0, merkle.EMPTY_ROOT, 0, merkle.EMPTY_ROOT, [])
    for old_root, new, new_root, path in (
        (LEAVES[0], 8, merkle.root(LEAVES), []),
        (merkle.EMPTY_ROOT, 8, merkle.root(LEAVES), LEAVES[:1]),
        (merkle.EMPTY_ROOT, 0, LEAVES[0], []),
    ):
        with pytest.raises(VerificationError, match="does not hold"):
            merkle.verify_consistency(0, old_root, new, new_root, path)


def test_a_tree_is_consistent_with_itself_only_without_hashes() -> None:
    root = merkle.root(LEAVES)
    merkle.verify_consistency(8, root, 8, root, [])
    for old_root, path in ((LEAVES[0], []), (root, LEAVES[:1])):
        with pytest.raises(VerificationError, match="does not hold"):
            merkle.verify_consistency(8, old_root, 8, root, path)


def test_size_is_not_committed_to_by_the_root_alone() -> None:
    """Why size and root must come from one statement: the same proof holds for leaf 0 of 5, 6, 7 or 8 leaves."""
    path, root = merkle.inclusion_path(LEAVES[:5], 0), merkle.root(LEAVES[:5])
    for size in (5, 6, 7, 8):
        merkle.verify_inclusion(LEAVES[0], 0, size, path, root)
