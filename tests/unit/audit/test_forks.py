"""Notes by which a checkpoint was given up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scichain_wf.audit import Verdict
from scichain_wf.model.bodies import Kind
from scichain_wf.model.checkpoint import Checkpoint
from tests.builders import signing_key
from tests.unit.audit.support import appended, ids, started


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "chain"


@pytest.mark.parametrize(("size", "signed"), [(1, True), (9_000, True), (9_000, False)])
def test_a_checkpoint_that_this_chain_does_not_continue_is_named(root: Path, size: int, signed: bool) -> None:
    """Spec: SAFE-7. Another root, more links than there are, and one that anybody may have made up."""
    chain = started(root)
    build = chain.builder
    note = Checkpoint(build.chain, size, b"r" * 32).sign(build.storage if signed else signing_key(1, "liar"))
    body = {"text": "-", "author": "a\x1b[2Jb", "checkpoint": note.text()}
    result = appended(root, build.quorum(build.block(1, [build.transaction(Kind.NOTE, {**body})])), chain=chain)
    assert (result.verdict, ids(result)) == (Verdict.WARNINGS, {"SC-CHAIN-104"})
    line = next(finding.line() for finding in result.findings if finding.id == "SC-CHAIN-104")
    assert f"checkpoint of {size} links" in line
    assert ("not signed by the storage node" in line) is not signed
    assert "\x1b" not in line


def test_other_notes_say_nothing_of_a_fork(root: Path) -> None:
    chain = started(root)
    build, mine = chain.builder, chain.checkpoint()
    foreign = replace(mine, chain=b"c" * 32, root=b"r" * 32).sign(build.storage)
    bodies = [{"text": "-"}, *({"text": "-", "checkpoint": text} for text in ("", "x", mine.text(), foreign.text()))]
    notes = [build.transaction(Kind.NOTE, {**body}) for body in bodies]
    result = appended(root, build.quorum(build.block(1, notes)), chain=chain)
    assert (result.verdict, ids(result)) == (Verdict.VERIFIED, set())
