"""The file under a ledger tail."""

from __future__ import annotations

from pathlib import Path

import lmdb
import pytest

from scichain_wf import limits
from scichain_wf.errors import LedgerError
from scichain_wf.ledger import tail
from scichain_wf.ledger.tailfile import TailFile

SMALL = limits.TAIL_BYTES_MIN


def test_an_io_error_undoes_the_write_and_is_said(tmp_path: Path) -> None:
    file = TailFile(tmp_path, SMALL, ("a",))
    file.write(lambda txn: txn.put(b"k", b"1", db=file.db["a"]))

    def fails(txn: object) -> None:
        txn.put(b"k", b"2", db=file.db["a"])  # type: ignore[attr-defined]
        raise lmdb.Error("made up")

    with pytest.raises(LedgerError, match="made up"):
        file.write(fails)
    assert file.get("a", b"k") == b"1"
    file.close()
    file.close()


def test_reads_between_two_writes_share_a_transaction_that_the_next_write_ends(tmp_path: Path) -> None:
    file = TailFile(tmp_path, SMALL, ("a", "b"))
    assert file.get("a", b"k") is None
    cursor = file.cursor("a")
    assert file.cursor("a") is cursor
    file.write(lambda txn: txn.put(b"k", b"1", db=file.db["a"]))
    assert file.get("a", b"k") == b"1"
    assert file.cursor("a") is not cursor
    assert file.cursor("a").set_key(b"k")
    assert not file.cursor("b").first()
    file.close()


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    file = TailFile(tmp_path, SMALL, ("a",))
    file.close()
    with pytest.raises(LedgerError):
        file.get("a", b"k")
    with pytest.raises(LedgerError):
        file.cursor("a")


def test_keys_are_packed_and_unpacked() -> None:
    both = [b"k" * 48, b"l" * 48], [b"s\0" + b"o" * 14, b"l" * 400]
    assert tail._unpacked(tail._packed(*both)) == both
    assert tail._unpacked(tail._packed([], [])) == ([], [])
