"""Paths of a chain directory."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from scichain_wf.errors import LedgerError, UsageError
from scichain_wf.ledger.layout import ChainLayout


def test_every_path_is_inside_the_chain_directory(tmp_path: Path) -> None:
    layout = ChainLayout(tmp_path)
    assert layout.trust_root == tmp_path / "trust-root"
    assert layout.checkpoint == tmp_path / "checkpoint"
    assert layout.ledger_dir(7) == tmp_path / "ledger" / "00000007"
    assert layout.writers == tmp_path / "writers"
    assert (layout.authority_key, layout.storage_key) == (
        tmp_path / "keys" / "authority.key",
        tmp_path / "keys" / "storage.key",
    )
    assert (layout.spool_new, layout.spool_tmp) == (tmp_path / "spool" / "new", tmp_path / "spool" / "tmp")
    assert layout.run_dir == tmp_path / "run"


@pytest.mark.parametrize("writer", [-1, 100_000_000])
def test_a_writer_epoch_that_eight_digits_cannot_spell_is_refused(tmp_path: Path, writer: int) -> None:
    with pytest.raises(UsageError, match=f"writer epoch {writer} "):
        ChainLayout(tmp_path).ledger_dir(writer)


def test_the_live_ledger_is_the_one_of_the_highest_writer_epoch(tmp_path: Path) -> None:
    layout = ChainLayout(tmp_path)
    for writer in (2, 10, 9):
        layout.ledger_dir(writer).mkdir(parents=True)
    for unfinished in ("00000011.new", ".00000012", "99999999x", "1000000000", "notes"):
        (layout.ledgers / unfinished).mkdir()
    assert layout.live_ledger() == layout.ledger_dir(10)


@pytest.mark.parametrize("make", ["nothing", "empty", "file", "ledger-file", "absent"])
def test_a_directory_that_is_not_a_chain_is_named_with_a_remedy(tmp_path: Path, make: str) -> None:
    root = tmp_path / "chain"
    if make in ("nothing", "empty", "ledger-file"):
        root.mkdir()
    if make == "empty":
        (root / "ledger").mkdir()
    if make == "ledger-file":
        (root / "ledger").write_text("")
    if make == "file":
        root.write_text("")
    with pytest.raises(LedgerError, match=rf"{re.escape(str(root))} is not a chain: .* name the directory that holds"):
        ChainLayout(root).live_ledger()


def test_a_ledger_directory_that_cannot_be_listed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(LedgerError, match=r"cannot be listed \(Permission denied\)"):
        ChainLayout(tmp_path).live_ledger()
