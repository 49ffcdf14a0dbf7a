"""Appending in batches, and how long a view holds."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scichain_wf import limits
from scichain_wf.errors import (
    InvariantViolation,
    LedgerCorrupt,
    LedgerError,
)
from scichain_wf.ledger.batch import full_subtrees
from scichain_wf.ledger.prepared import PreparedBlock, prepared
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.link import Annotation, Mark, Mode
from tests.builders import ChainBuilder
from tests.unit.ledger.kit import append, commit, fingerprint, new_chain, size_of

Chain = tuple[ChainBuilder, ChainStore]


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    builder, store = new_chain(tmp_path / "ledger")
    with store:
        yield builder, store


# --- append ------------------------------------------------------------------------------------------
def test_a_batch_is_committed_whole_or_not_at_all(chain: Chain) -> None:
    builder, store = chain
    before = fingerprint(store.path)
    state = builder.head, builder.height

    def fail() -> None:
        with store.begin() as batch:
            append(batch, builder, builder.quorum(builder.block(1, [builder.task("t")])))
            assert batch.size == 4
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError, match="changed my mind"):
        fail()
    builder.head, builder.height = state
    assert fingerprint(store.path) == before
    assert size_of(store) == 3
    commit(store, builder, [builder.task("t")], [builder.task("u")])
    assert size_of(store) == 5


def test_an_empty_batch_changes_nothing(chain: Chain) -> None:
    _, store = chain
    before = fingerprint(store.path)
    with store.begin() as batch:
        assert batch.size == 3
    assert fingerprint(store.path) == before


Break = Callable[[dict[str, Any], ChainBuilder], dict[str, Any]]


def _other_chain(arguments: dict[str, Any], builder: ChainBuilder) -> dict[str, Any]:
    builder.chain = bytes([7]) * 32
    return {"prepared": prepared(builder.block(1, [builder.task("t")]))}


def _wrong_root(arguments: dict[str, Any], builder: ChainBuilder) -> dict[str, Any]:
    block: PreparedBlock = arguments["prepared"]
    return {"prepared": replace(block, leaves=[bytes(32)])}


def _wrong_count(arguments: dict[str, Any], builder: ChainBuilder) -> dict[str, Any]:
    block: PreparedBlock = arguments["prepared"]
    return {"prepared": replace(block, facts=[])}


BREAKS: list[tuple[str, Break]] = [
    ("the block is of chain 0707", _other_chain),
    ("mode quorum and certificate do not go together", lambda *_: {"certificate": None}),
    ("mode epoch and certificate do not go together", lambda *_: {"mode": Mode.EPOCH, "epoch": 3}),
    ("epoch 3 at a link of mode quorum, expected 2", lambda *_: {"epoch": 3}),
    ("epoch 2 at a link of mode epoch, expected 3", lambda *_: {"mode": Mode.EPOCH, "certificate": None}),
    ("the block's root is not that of its transactions", _wrong_root),
    ("the block's counts differ", _wrong_count),
    ("an annotation names no transaction", lambda *_: {"annotations": (Annotation(1, Mark.CONTESTED),)}),
    ("transaction 0 is marked a duplicate and is none", lambda *_: {"annotations": (Annotation(0, Mark.DUPLICATE),)}),
]


@pytest.mark.parametrize(("message", "change"), BREAKS)
def test_an_append_that_contradicts_itself_or_the_chain_is_a_bug_and_changes_nothing(
    chain: Chain, message: str, change: Break
) -> None:
    builder, store = chain
    candidate = builder.quorum(builder.block(1, [builder.task("t")]))
    arguments: dict[str, Any] = {
        "prepared": prepared(candidate.block),
        "mode": candidate.mode,
        "certificate": candidate.certificate,
        "epoch": candidate.epoch,
        "writer": 1,
        "time_us": 1,
    }
    before = fingerprint(store.path)
    with pytest.raises(InvariantViolation, match=re.escape(message)), store.begin() as batch:
        batch.append(**(arguments | change(arguments, builder)))
    assert fingerprint(store.path) == before
    with store.begin() as batch:
        batch.append(**arguments)
    assert size_of(store) == 4


def test_a_repeated_transaction_or_proposal_must_not_go_unmarked(chain: Chain) -> None:
    builder, store = chain
    task = builder.task("t")
    commit(store, builder, [task])
    before = fingerprint(store.path)
    again = builder.quorum(builder.block(1, [task]))
    with pytest.raises(InvariantViolation, match="transactions: an entry of height 4 is there"), store.begin() as batch:
        append(batch, builder, again, annotations=())
    builder.sequences[1] = 0
    proposal = builder.quorum(builder.block(1, [builder.task("other")]))
    with pytest.raises(InvariantViolation, match="proposals: there is an entry"), store.begin() as batch:
        append(batch, builder, proposal)
    assert fingerprint(store.path) == before


def test_a_batch_whose_append_failed_half_way_cannot_be_committed(chain: Chain) -> None:
    builder, store = chain
    task = builder.task("t")
    commit(store, builder, [task])
    before = fingerprint(store.path)
    again = builder.quorum(builder.block(1, [task]))

    def swallow() -> None:
        with store.begin() as batch:
            with contextlib.suppress(InvariantViolation):
                append(batch, builder, again, annotations=())
            with pytest.raises(InvariantViolation, match="failed half way"):
                append(batch, builder, again)

    with pytest.raises(InvariantViolation, match="half-done"):
        swallow()
    assert fingerprint(store.path) == before


def test_a_batch_is_bounded(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    builder, store = chain
    monkeypatch.setattr(limits, "APPEND_BATCH_BLOCKS_MAX", 2)
    commit(store, builder, [builder.task("a")], [builder.task("b")])
    with pytest.raises(InvariantViolation, match="too many blocks"):
        commit(store, builder, [builder.task("c")], [builder.task("d")], [builder.task("e")])
    assert size_of(store) == 5


def test_an_annotated_poet_block_is_appended_with_its_marks(chain: Chain) -> None:
    builder, store = chain
    marks = (Annotation(0, Mark.CONTESTED, ("input x has no such version",)), Annotation(1, Mark.UNRESOLVED))
    output = [builder.artifact("x", b"1")]
    candidate = builder.poet(builder.block(1, [builder.task("a", [], output), builder.task("b")]), marks)
    with store.begin() as batch:
        append(batch, builder, candidate, annotations=marks)
    with store.view() as view:
        assert view.head().annotations == marks
        assert len(list(view.versions(str(output[0]["uri"])))) == 1  # contested ones are indexed too


def test_a_broken_head_is_noticed_before_anything_is_appended_to_it(chain: Chain) -> None:
    _, store = chain
    with store._env.begin(write=True, db=store._dbs.tree) as txn:
        txn.put(b"\0" + (2).to_bytes(8, "big"), bytes(32))
    with pytest.raises(LedgerCorrupt, match="the leaf of height 2 is not its link's hash"), store.begin():
        pass
    assert size_of(store) == 3


def test_batches_do_not_nest_and_end_with_their_block(chain: Chain) -> None:
    builder, store = chain
    with store.begin() as batch:
        with pytest.raises(InvariantViolation, match="a batch inside a batch"), store.begin():
            pass
        with pytest.raises(InvariantViolation, match="a snapshot inside a batch"):
            store.snapshot(store.path.parent / "copy")
    with pytest.raises(LedgerError, match="this batch is over"):
        append(batch, builder, builder.quorum(builder.block(1, [builder.task("t")])), annotations=())
    assert not (store.path.parent / "copy").exists()


def test_full_subtrees_are_those_of_the_binary_number() -> None:
    assert full_subtrees(0) == []
    assert full_subtrees(11) == [(3, 0), (1, 4), (0, 10)]


# --- views -------------------------------------------------------------------------------------------
def test_a_view_keeps_its_moment_for_one_commit_and_then_refuses(chain: Chain) -> None:
    """Without LMDB's lock file, nobody else would tell it that its pages are used again."""
    builder, store = chain
    with store.view() as view:
        commit(store, builder, [builder.task("a")])
        assert view.size == 3
        assert view.head().height == 2
        versions = view.runs()
        commit(store, builder, [builder.task("b")])
        with pytest.raises(LedgerError, match="this view is over"):
            view.head_hash()
        with pytest.raises(LedgerError, match="this view is over"):
            next(versions)
    with pytest.raises(LedgerError, match="this view is over"):
        view.root()


def test_what_an_old_view_would_read_is_really_overwritten(chain: Chain) -> None:
    """The reason for the rule above: the promise of one commit holds, and a guard beyond it is needed."""
    builder, store = chain
    for _ in range(30):
        with store._env.begin() as txn:
            before = txn.get((2).to_bytes(8, "big"), db=store._dbs.links)
            commit(store, builder, [builder.task("x")])
            assert txn.get((2).to_bytes(8, "big"), db=store._dbs.links) == before


@pytest.mark.parametrize("found", ["pass", "raise LedgerError('MDB_BAD_DBI')", "raise LedgerCorrupt('a page')"])
def test_a_reader_in_another_process_is_told_when_it_was_overtaken(chain: Chain, found: str) -> None:
    """Whatever it found in pages that were reused meanwhile."""
    builder, store = chain
    code = (
        "import sys, pathlib\n"
        "from scichain_wf.ledger.store import ChainStore\n"
        "from scichain_wf.errors import LedgerCorrupt, LedgerError\n"
        "with ChainStore.open(pathlib.Path(sys.argv[1]), readonly=True) as store:\n"
        "    try:\n"
        "        with store.view() as view:\n"
        "            print(view.size, flush=True); sys.stdin.readline()\n"
        f"            {found}\n"
        "    except LedgerError as error:\n"
        "        print(error)\n"
        "    with store.view() as view: print(view.size)\n"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", code, str(store.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "3\n"
    for number in range(3):
        commit(store, builder, [builder.task(f"t{number}")])
    out, _ = reader.communicate("\n", timeout=30)
    assert "its storage node wrote on while it was read; read again" in out
    assert out.endswith("\n6\n")
