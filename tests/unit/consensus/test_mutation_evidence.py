"""Evidence to the last word: what mutation testing (tests/mutation) found no other test to notice."""

from __future__ import annotations

import pytest

from scichain_wf import limits
from scichain_wf.consensus import evidence
from scichain_wf.consensus.evidence import Statement, Witness
from tests.unit.consensus.cluster import MemoryLedger

CHAIN = b"c" * 32


def pair(number: int) -> tuple[Statement, Statement]:
    return (b"%d" % number, bytes(64)), (b"other", bytes(64))


def test_the_key_of_evidence_has_no_time_of_its_own() -> None:
    """Whoever reports a pair makes the same transaction, whenever."""
    assert evidence.of(CHAIN, "header", *pair(1)).key.startswith(bytes(6))


def test_just_so_many_reports_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVIDENCE_REMEMBERED_MAX", 2)
    witness, reported = Witness(CHAIN, 2, 1.0), []
    for number in (1, 2, 1, 2, 3, 2, 3, 1):
        witness.report("header", pair(number), 1, b"%d" % number, 3, 0.0)
        reported.append(len(witness.ripe(MemoryLedger(), 0.0)))
    assert reported == [1, 1, 0, 0, 1, 0, 0, 1]
