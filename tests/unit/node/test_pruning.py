"""What takeovers leave: old ledgers and markers go, and who still holds one learns that it is the writer no more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scichain_wf.errors import LedgerError
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.node import pruning
from scichain_wf.node.writers import Writer, claimed

LEASE_S = 0.2


@pytest.fixture
def layout(tmp_path: Path) -> ChainLayout:
    made = ChainLayout(tmp_path)
    made.run_dir.mkdir()
    made.writers.mkdir()
    return made


def markers(layout: ChainLayout) -> list[int]:
    return sorted(int(path.name) for path in layout.writers.iterdir())


def test_every_end_in_order_leaves_two_markers(layout: ChainLayout) -> None:
    """Spec: SAFE-8. The newest stays, so no epoch is used twice."""
    seen = []
    for _ in range(4):
        with claimed(layout, LEASE_S) as writer:
            writer.hold()
            seen.append((writer.number, markers(layout)))
    assert seen == [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [2, 3, 4])]
    assert markers(layout) == [3, 4]


def test_a_stale_writer_without_its_marker_is_fenced(layout: ChainLayout) -> None:
    """Spec: SAFE-8. It slept while two others came and went."""
    stale = Writer.take(layout, 1, LEASE_S)
    assert stale is not None
    stale.hold()
    for _ in range(2):
        with claimed(layout, LEASE_S) as writer:
            writer.hold()
    assert markers(layout) == [2, 3]
    with pytest.raises(LedgerError, match="was removed: this storage node is not the writer any more"):
        stale.check()
    assert stale.is_fenced
    stale.end()
    assert markers(layout) == [2, 3]


def test_claims_that_nobody_settled_stay_with_the_last_that_was(layout: ChainLayout) -> None:
    """Spec: SAFE-8. Who claims the next epoch still has to wait for them."""
    for _ in range(2):
        with claimed(layout, LEASE_S) as writer:
            writer.hold()
    claims = [Writer.take(layout, number, LEASE_S) for number in (3, 4)]
    assert pruning.prune(layout, "c", dry_run=False) == []
    assert markers(layout) == [1, 2, 3, 4]
    for claim in claims:
        assert claim is not None
        claim.end()


def test_of_ledgers_the_newest_two_stay(layout: ChainLayout) -> None:
    for name in ("00000000", "00000002", "00000005", "00000009", ".00000005", ".00000012", "notes", "0000001"):
        (layout.ledgers / name).mkdir(parents=True)
        (layout.ledgers / name / "data.mdb").write_bytes(b"12345")
    before = {path.name for path in layout.ledgers.iterdir()}
    would = pruning.prune(layout, "c", dry_run=True)
    assert {path.name for path in layout.ledgers.iterdir()} == before
    assert [(v.found.path.name, v.found.kind.value, v.removed) for v in would] == [
        ("00000000", "superseded ledger", True),
        ("00000002", "superseded ledger", True),
        (".00000005", "superseded ledger", True),
    ]
    assert all(verdict.found.size_bytes > 5 for verdict in would)
    assert pruning.prune(layout, "c", dry_run=False) == would
    assert before - {path.name for path in layout.ledgers.iterdir()} == {v.found.path.name for v in would}
    assert layout.newest_ledger == 9
    assert pruning.prune(layout, "c", dry_run=False) == []


def test_a_link_to_somewhere_else_is_removed_and_not_followed(layout: ChainLayout, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    layout.ledgers.mkdir()
    os.symlink(tmp_path / "mine", layout.ledgers / "00000001")
    for name in ("00000002", "00000003"):
        (layout.ledgers / name).mkdir()
    assert [verdict.removed for verdict in pruning.prune(layout, "c", dry_run=False)] == [True]
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]
    assert not (layout.ledgers / "00000001").exists()
