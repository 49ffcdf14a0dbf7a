"""Checkpoints that validators have signed besides the storage node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scichain_wf import audit
from scichain_wf.audit import Verdict
from scichain_wf.model.checkpoint import Checkpoint, NoteSignature
from scichain_wf.report.html import to_html
from tests.builders import signing_key
from tests.chains import DiskChain, small_chain, write_files
from tests.unit.audit.support import ids, verify_here


@pytest.fixture
def chain(tmp_path: Path) -> DiskChain:
    with small_chain((tmp_path / "work").resolve() / ".scichain") as made:
        write_files(made)
    return made


def cosign(chain: DiskChain, *slots: int) -> Checkpoint:
    note = Checkpoint.parse(chain.layout.checkpoint.read_bytes())
    for slot in slots:
        note = note.cosign(chain.builder.nodes[slot], slot, 1_750_000_000)
    chain.layout.checkpoint.write_text(note.text())
    return note


def test_who_cosigned_is_told(chain: DiskChain) -> None:
    for slots in ((), (2,), (1, 2, 3)):
        cosign(chain, *slots)
        for result in (verify_here(chain.root), audit.verify_artifact(chain.root, chain.root.parent / "out/1.txt")):
            assert result.head is not None
            assert (result.head.cosigned, ids(result)) == (slots, set())
    assert "cosigned by slots 1, 2, 3" in to_html(verify_here(chain.root), "1", 1)


def test_a_cosignature_in_a_slots_name_by_another_key_is_named(chain: DiskChain) -> None:
    note = cosign(chain, 1).cosign(signing_key(9, "thief"), 2, 1_750_000_000)
    chain.layout.checkpoint.write_text(note.text())
    result = verify_here(chain.root)
    assert (result.verdict, ids(result)) == (Verdict.WARNINGS, {"SC-CHAIN-099"})
    assert result.head is not None
    assert result.head.cosigned == (1,)
    assert "SC-CHAIN-099" in ids(verify_here(chain.root, kept=note.text()))


def test_lines_of_other_witnesses_are_nobodys_here(chain: DiskChain) -> None:
    """As the format asks: whoever signs a copy for himself spoils nothing, wherever he puts his line."""
    note = cosign(chain).cosign(signing_key(9, "witness"), 77, 1_750_000_000)
    stranger = NoteSignature("example.org/witness", b"abcd", b"x")
    for lines in ((*note.signatures, stranger), (stranger, *reversed(note.signatures))):
        chain.layout.checkpoint.write_text(replace(note, signatures=lines).text())
        assert ids(verify_here(chain.root)) == set()


def test_lines_on_a_checkpoint_of_another_history_are_not_judged(chain: DiskChain) -> None:
    """That it is of another one is told; who filled the slots there is not known here."""
    size = cosign(chain).size
    other = Checkpoint(chain.builder.chain, size, bytes(32)).sign(chain.builder.storage)
    other = other.cosign(signing_key(9, "stranger"), 2, 1_750_000_000)
    assert ids(verify_here(chain.root, kept=other.text())) == {"SC-CHAIN-101"}
