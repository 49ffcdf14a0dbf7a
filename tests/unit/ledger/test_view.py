"""Reads of a chain store, held against a naive model in dictionaries."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scichain_wf.crypto import merkle
from scichain_wf.errors import LedgerCorrupt, UsageError
from scichain_wf.ledger.keys import POSITION, SPAN, height_key
from scichain_wf.ledger.prepared import prepared
from scichain_wf.ledger.standing import Standing
from scichain_wf.ledger.store import ChainStore, ChainView, Version
from scichain_wf.model.block import Block
from scichain_wf.model.bodies import Kind
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.link import Annotation, Link, Mark, Mode
from scichain_wf.model.transaction import NO_RUN, RunId, Transaction
from tests.builders import Candidate, ChainBuilder
from tests.unit.ledger.kit import append, commit, new_chain

NAMES = ["a", "b", "b/c", "%", "l" * 390, "l" * 600, "l" * 601]


# --- the model ----------------------------------------------------------------------------------------
@dataclass
class Naive:
    """What was appended, and answers computed from all of it."""

    links: list[Link] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    certificates: list[bytes | None] = field(default_factory=list)

    def add(self, link: Link, candidate: Candidate) -> None:
        self.links.append(link)
        self.blocks.append(candidate.block)
        self.certificates.append(candidate.certificate)

    def transactions(self) -> Iterator[tuple[int, int, bytes, dict[str, Any]]]:
        """(height, index, id, record) of what counts: everything but repeated bytes."""
        seen = set()
        for height, block in enumerate(self.blocks):
            for index, data in enumerate(block.transactions):
                identity = merkle.leaf_hash(data)
                if identity not in seen:
                    yield height, index, identity, json.loads(data)
                seen.add(identity)

    def marks(self, height: int) -> list[tuple[int, Mark]]:
        ids: set[bytes] = set()
        keys: set[str] = set()
        found: list[tuple[int, Mark]] = []
        for at, block in enumerate(self.blocks[: height + 1]):
            for index, data in enumerate(block.transactions):
                identity, key = merkle.leaf_hash(data), json.loads(data)["key"]
                if at == height and key in keys:
                    found.append((index, Mark.DUPLICATE if identity in ids else Mark.KEY_CLASH))
                ids.add(identity)
                keys.add(key)
        return found


def check(view: ChainView, naive: Naive) -> None:
    size = len(naive.links)
    hashes = [link.hash for link in naive.links]
    assert view.size == size
    assert view.chain_id == hashes[0]
    assert (view.head(), view.head_hash()) == (naive.links[-1], hashes[-1])
    for height, link in enumerate(naive.links):
        assert view.link(height) == link
        assert view.link_bytes(height) == link.encode()
        assert link.previous == (hashes[height - 1] if height else bytes(32))
        assert view.block_bytes(height) == naive.blocks[height].encode()
        assert view.certificate_bytes(height) == naive.certificates[height]
        assert [(mark.index, mark.mark) for mark in link.annotations] == naive.marks(height)
        header = naive.blocks[height].header
        assert view.proposal(header.proposer, header.sequence) == (height, link.block)
        assert view.proposal(header.proposer, header.sequence + 1_000) is None
    check_tree(view, hashes)
    check_indexes(view, naive)


def check_tree(view: ChainView, hashes: list[bytes]) -> None:
    size = len(hashes)
    assert view.root() == merkle.root(hashes)
    for part in {0, 1, size // 2, size}:
        root = merkle.root(hashes[:part])
        assert view.root(part) == root
        merkle.verify_consistency(part, root, size, view.root(), view.consistency_path(part))
        if part:
            merkle.verify_inclusion(hashes[part - 1], part - 1, part, view.inclusion_path(part - 1, part), root)
            merkle.verify_inclusion(hashes[part - 1], part - 1, size, view.inclusion_path(part - 1), view.root())


def check_indexes(view: ChainView, naive: Naive) -> None:
    by_key: dict[str, list[tuple[bytes, int, int]]] = defaultdict(list)
    by_run: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    by_uri: dict[str, list[Version]] = defaultdict(list)
    for height, index, identity, record in naive.transactions():
        by_key[record["key"]].append((identity, height, index))
        by_run[record["run"]].append((record["kind"], height, index))
        for number, output in enumerate(record["body"]["outputs"] if record["kind"] == "task" else []):
            digest = bytes.fromhex(output["digest"][7:]) if "digest" in output else None
            by_uri[output["uri"]].append(Version(height, index, number, digest))
    for key, found in by_key.items():
        raw = bytes.fromhex(key)
        assert view.find(raw) == found
        for identity, height, index in found:
            assert view.contains(raw, identity)
            assert merkle.leaf_hash(view.transaction((height, index))) == identity
            assert view.clashes(raw, identity) == (len(found) > 1)
        assert view.clashes(raw, bytes(32))
        assert not view.contains(raw, bytes(32))
    assert view.find(bytes(16)) == []
    zero = by_run.pop(NO_RUN.hex(), [])
    assert zero
    assert list(view.run(NO_RUN)) == []
    assert list(view.runs()) == [bytes.fromhex(run) for run in sorted(by_run)]
    for run, entries in by_run.items():
        assert list(view.run(bytes.fromhex(run))) == entries
    for uri, versions in by_uri.items():
        assert list(view.versions(uri)) == versions
        unhashed = any(version.digest is None for version in versions)
        for _ in range(2):  # what was read once is remembered
            known = {view.standing(uri, version.digest) for version in versions if version.digest}
            assert known <= {Standing.KNOWN}
            assert view.standing(uri, bytes(32)) is (Standing.UNHASHED if unhashed else Standing.OTHER)
    unknown = "work:00112233445566aa/never"
    assert (list(view.versions(unknown)), view.standing(unknown, bytes(32))) == ([], Standing.NEW)
    epochs = [link for link in naive.links if link.mode is Mode.EPOCH]
    assert [view.epoch_at(link.epoch) for link in epochs] == [link.height for link in epochs]
    assert view.current_epoch() == (epochs[-1].epoch, epochs[-1].height)


# --- random chains ------------------------------------------------------------------------------------
TASK = st.tuples(st.just("task"), st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 3)), max_size=3))
AGAIN = st.tuples(st.sampled_from(["same bytes", "same key"]), st.integers(0, 30))
OTHER = st.tuples(st.sampled_from(["note", "other run", "intent"]), st.none())
BLOCK = st.lists(st.one_of(TASK, AGAIN, OTHER), min_size=1, max_size=6) | st.just([("many", None)])
STEP = BLOCK | st.just("epoch")


class Writer:
    """Turns drawn steps into transactions."""

    def __init__(self, builder: ChainBuilder) -> None:
        self.builder = builder
        self.past: list[Transaction] = []
        self.other_run = RunId(bytes([1]) + bytes(15))  # before the builder's run

    def transactions(self, operation: tuple[str, Any]) -> list[Transaction]:
        name, argument = operation
        builder = self.builder
        if name == "task":
            outputs = [builder.artifact(path, bytes([n]) if n else None) for path, n in argument]
            made = [builder.task("t", [builder.artifact("a")], outputs)]
        elif name in ("same bytes", "same key") and self.past:
            old = self.past[argument % len(self.past)]
            made = [old if name == "same bytes" else replace(old, time_us=builder.tick(1))]
        elif name == "many":
            made = [builder.task("t", [], [builder.artifact("a", b"%d" % n)]) for n in range(3 * SPAN + 1)]
        else:
            kind = Kind.INTENT if name == "intent" else Kind.NOTE
            made = [builder.transaction(kind, self.body(kind), self.other_run if name == "other run" else NO_RUN)]
        self.past += made
        return made

    def body(self, kind: Kind) -> dict[str, Any]:
        if kind is Kind.NOTE:
            return {"text": "n"}
        engine = {"name": "test", "version": "1"}
        return {
            "engine": engine, "name": "t", "task": "t", "attempt": 1, "outputs": [], "node": "n", "started_us": 1,
        }  # fmt: skip


@settings(max_examples=40)
@given(st.lists(st.lists(STEP, min_size=1, max_size=4), max_size=4), st.integers(0, 2**32))
def test_any_blocks_in_any_batches_read_as_a_naive_model_says(groups: list[list[Any]], seed: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        builder = ChainBuilder(1, seed)
        builder.settings = replace(builder.settings, difficulty=Difficulty(value=0))
        naive, writer = Naive(), Writer(builder)
        with ChainStore.create(Path(temporary, "l"), builder.genesis) as store:
            with store.view() as view:
                link = view.head()
            builder.linked(link)
            naive.add(link, Candidate(builder.genesis, Mode.EPOCH, None, 0))
            joins = builder.join_all()
            for group in [[*joins], *groups]:
                with store.begin() as batch:
                    for step in group:
                        candidate = step if isinstance(step, Candidate) else candidate_of(builder, writer, step)
                        naive.add(append(batch, builder, candidate), candidate)
                    check(batch, naive)
                with store.view() as view:
                    check(view, naive)
        with ChainStore.open(Path(temporary, "l"), readonly=True) as store, store.view() as view:
            check(view, naive)


def candidate_of(builder: ChainBuilder, writer: Writer, step: Any) -> Candidate:
    if step == "epoch":
        return builder.epoch_candidate(replace(builder.epoch, epoch=builder.epoch.epoch + 1))
    return builder.quorum(builder.block(1, [t for operation in step for t in writer.transactions(operation)]))


# --- single reads -------------------------------------------------------------------------------------
@pytest.fixture
def chain(tmp_path: Path) -> Iterator[tuple[ChainBuilder, ChainStore]]:
    builder, store = new_chain(tmp_path / "ledger")
    with store:
        yield builder, store


@pytest.mark.parametrize("count", [1, 2, SPAN, SPAN + 1, 2 * SPAN, 3 * SPAN + 5])
def test_a_transaction_path_proves_its_transaction(chain: tuple[ChainBuilder, ChainStore], count: int) -> None:
    builder, store = chain
    commit(store, builder, [builder.task(f"t{n}") for n in range(count)])
    with store.view() as view:
        block = Block.decode(view.block_bytes(3))
        for index, leaf in enumerate(block.leaves):
            path = view.transaction_path(3, index)
            assert path == merkle.inclusion_path(block.leaves, index)
            merkle.verify_inclusion(leaf, index, count, path, block.header.root)
        for index in (-1, count):
            with pytest.raises(UsageError, match=f"has {count} transactions, and no number {index}"):
                view.transaction_path(3, index)
            with pytest.raises(UsageError, match=f"has {count} transactions, and no number {index}"):
                view.transaction((3, index))


@pytest.mark.parametrize("stored", [None, b"", bytes(32), bytes(64)])
def test_a_path_does_not_rest_on_the_stored_subtrees(
    chain: tuple[ChainBuilder, ChainStore], stored: bytes | None
) -> None:
    builder, store = chain
    commit(store, builder, [builder.task(f"t{n}") for n in range(2 * SPAN)])
    overwrite(store, "subtrees", height_key(3), stored)
    with store.view() as view:
        leaves = Block.decode(view.block_bytes(3)).leaves
        assert view.transaction_path(3, 5) == merkle.inclusion_path(leaves, 5)


def test_reads_outside_the_chain_are_usage_errors(chain: tuple[ChainBuilder, ChainStore]) -> None:
    _, store = chain
    with store.view() as view:
        for height in (-1, 3, 2**60):
            for read in (view.link, view.link_bytes, view.block_bytes, view.frame, view.certificate_bytes):
                with pytest.raises(UsageError, match=rf"height {height} is outside this chain of 3 links"):
                    read(height)
        for size in (-1, 4):
            with pytest.raises(UsageError, match=f"a tree of {size} links"):
                view.root(size)
        with pytest.raises(UsageError, match="epoch 3 has not begun"):
            view.epoch_at(3)
        with pytest.raises(UsageError, match="a transaction key has 16 bytes, not 3"):
            view.find(b"abc")
        with pytest.raises(UsageError, match="a run id has 16 bytes, not 0"):
            list(view.run(b""))


def overwrite(store: ChainStore, name: str, key: bytes, value: bytes | None) -> None:
    """Change stored bytes behind the store's back."""
    database = getattr(store._dbs, name)
    with store._env.begin(write=True) as txn:
        assert txn.delete(key, db=database) if value is None else txn.put(key, value, db=database)


DAMAGE = [
    ("links", height_key(3), b"{}", "links: height 3: "),
    ("blocks", height_key(3), None, "blocks: height 3 is missing"),
    ("blocks", height_key(3), b"\0\0\0\1", "blocks: height 3: "),
    ("certificates", height_key(3), None, "certificates: height 3 is missing"),
    ("tree", b"\0" + height_key(3), None, "tree: level 0, index 3 is missing"),
    ("meta", b"chain", None, "meta: the chain id is missing"),
    ("epochs", height_key(2), b"1", "epochs: an entry is malformed"),
]


@pytest.mark.parametrize(("name", "key", "value", "message"), DAMAGE)
def test_missing_or_malformed_bytes_are_named(
    chain: tuple[ChainBuilder, ChainStore], name: str, key: bytes, value: bytes | None, message: str
) -> None:
    builder, store = chain
    commit(store, builder, [builder.task("t")])
    overwrite(store, name, key, value)
    with pytest.raises(LedgerCorrupt, match=message), store.view() as view:
        view.head()
        view.transaction((3, 0))
        view.certificate_bytes(3)
        view.head_hash()
        assert view.chain_id
        view.current_epoch()
        view.epoch_at(2)


def test_a_hole_in_the_links_is_noticed(chain: tuple[ChainBuilder, ChainStore]) -> None:
    _, store = chain
    overwrite(store, "links", height_key(1), None)
    with pytest.raises(LedgerCorrupt, match="links: 2 entries, and the last is not height 1"), store.view():
        pass


def test_malformed_index_entries_are_named(chain: tuple[ChainBuilder, ChainStore]) -> None:
    builder, store = chain
    task = builder.task("t", [], [builder.artifact("a", b"1")])
    commit(store, builder, [task])
    uri = "work:00112233445566aa/a"
    with store._env.begin() as txn:
        artifact = next(iter(txn.cursor(store._dbs.artifacts)))[0]
    header = prepared(builder.block(1, [task])).block.header
    overwrite(store, "artifacts", artifact, b"short")
    overwrite(store, "transactions", task.key + bytes(32), b"short")
    overwrite(store, "runs", builder.run + b"short", b"")
    overwrite(store, "proposals", header.proposer + height_key(1), b"short")
    with store.view() as view:
        for read in (
            lambda: list(view.versions(uri)),
            lambda: view.standing(uri, bytes(32)),
            lambda: view.find(task.key),
            lambda: list(view.run(builder.run)),
            lambda: view.proposal(header.proposer, 1),
        ):
            with pytest.raises(LedgerCorrupt, match="malformed"):
                read()


def test_a_key_of_another_length_is_not_taken_for_a_version(chain: tuple[ChainBuilder, ChainStore]) -> None:
    builder, store = chain
    commit(store, builder, [builder.task("t", [], [builder.artifact("a", b"1")])])
    with store.view() as view:
        assert list(view.versions("work:00112233445566aa/a\0\0\0")) == []
        assert view.standing("work:00112233445566aa/a\0\0\0", bytes(32)) is Standing.NEW


def test_repeats_marks_what_is_known_in_the_chain_and_in_the_block(chain: tuple[ChainBuilder, ChainStore]) -> None:
    builder, store = chain
    old = builder.task("old")
    commit(store, builder, [old])
    clash, new = replace(old, time_us=1), builder.task("new")
    block = prepared(builder.block(1, [new, old, clash, clash, new, builder.task("other")]))
    with store.view() as view:
        assert view.repeats(block) == (
            Annotation(1, Mark.DUPLICATE),
            Annotation(2, Mark.KEY_CLASH),
            Annotation(3, Mark.DUPLICATE),
            Annotation(4, Mark.DUPLICATE),
        )


def test_nobody_can_hide_a_record_by_using_its_key_first(chain: tuple[ChainBuilder, ChainStore]) -> None:
    builder, store = chain
    victim = builder.task("victim")
    commit(store, builder, [replace(victim, host="attacker")], [victim])
    with store.view() as view:
        assert [located[1:] for located in view.find(victim.key)] == [(3, 0), (4, 0)]
        assert view.transaction(view.find(victim.key)[1]) == victim.encode()


def test_positions_are_spelled_as_the_layout_says(chain: tuple[ChainBuilder, ChainStore]) -> None:
    builder, store = chain
    task = builder.task("t")
    commit(store, builder, [builder.task("first"), task])
    with store._env.begin() as txn:
        assert txn.get(task.key + task.id, db=store._dbs.transactions) == POSITION.pack(3, 1)


def test_iterators_can_be_left_early(chain: tuple[ChainBuilder, ChainStore]) -> None:
    builder, store = chain
    commit(store, builder, *([builder.task("t", [], [builder.artifact("a", b"%d" % n)])] for n in range(3)))
    with store.view() as view, contextlib.closing(view.versions("work:00112233445566aa/a")) as versions:  # type: ignore[type-var]
        assert next(versions).height == 3
