"""What an agent says it has, held against the chain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf.consensus import rollback
from scichain_wf.consensus.events import Presented
from scichain_wf.model.checkpoint import Checkpoint
from tests.builders import signing_key

CHAIN = b"c" * 32
STORAGE = signing_key(1, "storage")


class Disk:
    """Four links."""

    def link_hash(self, height: int, /) -> bytes | None:
        return (CHAIN, b"1" * 32, b"2" * 32, b"3" * 32)[height] if height < 4 else None

    def root(self, size: int, /) -> bytes | None:
        return bytes([size]) * 32 if size <= 4 else None


def said(head: tuple[int, bytes] | None = None, note: Checkpoint | None = None) -> list[Presented]:
    return rollback.presented(7, head, note, Disk(), STORAGE.public)


def test_who_has_nothing_claims_nothing() -> None:
    assert said() == []


@pytest.mark.parametrize(("height", "own"), [(0, CHAIN), (3, b"3" * 32), (4, None)])
def test_a_newest_link_is_a_word(height: int, own: bytes | None) -> None:
    """Spec: SAFE-7. The same, another, and beyond the end."""
    for head in (own or b"x" * 32, b"y" * 32):
        assert said((height, head)) == [Presented(7, height, head, own, proven=False)]


@pytest.mark.parametrize(("size", "own"), [(1, b"\1" * 32), (4, b"\4" * 32), (5, None)])
def test_a_checkpoint_that_storage_signed_is_proof(size: int, own: bytes | None) -> None:
    """Spec: SAFE-7. Beside the word, which may say something else."""
    for root in (own or b"x" * 32, b"y" * 32):
        note = Checkpoint(CHAIN, size, root).sign(STORAGE)
        proof = Presented(7, size - 1, root, own, proven=True)
        assert said(note=note) == [proof]
        assert said((9, b"h" * 32), note) == [Presented(7, 9, b"h" * 32, None, proven=False), proof]


def test_a_checkpoint_of_another_or_of_nothing_says_nothing() -> None:
    """Spec: LIVE-1. Else anybody could stop the chain with one."""
    note = Checkpoint(CHAIN, 9, b"r" * 32)
    assert said(note=note.sign(STORAGE))
    for silent in (
        note,
        note.sign(signing_key(1, "another")),
        replace(note, chain=b"o" * 32).sign(STORAGE),
        replace(note.sign(STORAGE), root=b"o" * 32),
        replace(note, size=0).sign(STORAGE),
    ):
        assert said(note=silent) == []
