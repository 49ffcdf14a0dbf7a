"""The spool: whole files only, and nothing hostile is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.client.spool import list_spool, read_spool, takes_records, write_spool
from scichain_wf.errors import SubmissionError


def test_written_transactions_are_listed_oldest_first_and_read_back(tmp_path: Path) -> None:
    written = [write_spool(tmp_path / "spool", b"%d" % number) for number in range(3)]
    assert list_spool(tmp_path / "spool") == sorted(written)
    assert sorted(read_spool(path) for path in written) == [b"0", b"1", b"2"]
    assert list((tmp_path / "spool" / "tmp").iterdir()) == []
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in written)


def test_known_names_are_left_out_and_the_oldest_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SPOOL_LIST_MAX", 2)
    written = sorted(write_spool(tmp_path / "spool", b"x") for _ in range(4))
    assert list_spool(tmp_path / "spool") == written[:2]
    assert list_spool(tmp_path / "spool", {written[0].name}) == written[1:3]


def test_no_spool_is_an_empty_spool(tmp_path: Path) -> None:
    assert list_spool(tmp_path / "none") == []
    (tmp_path / "file").write_text("")
    assert list_spool(tmp_path / "file") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
@pytest.mark.parametrize("whose", ["", "writers", "spool"])
def test_records_are_kept_only_where_the_chains_own_user_reads_them(tmp_path: Path, whose: str) -> None:
    """Spec: LOSS-1. Who made the directory need not be whose chain it became."""
    spool = tmp_path / "spool"
    assert takes_records(spool)
    for name in ("writers", "spool"):
        (tmp_path / name).mkdir()
    assert takes_records(spool)
    os.chown(tmp_path / whose, 65534, -1)
    assert not takes_records(spool)


@pytest.mark.parametrize("size", [0, limits.TRANSACTION_BYTES_MAX + 1])
def test_sizes_no_transaction_has_are_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(SubmissionError, match="1 to"):
        write_spool(tmp_path, bytes(size))


def test_no_room_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda fd, data: len(data) // 2)
    with pytest.raises(SubmissionError, match="no space left"):
        write_spool(tmp_path, b"data")
    assert list((tmp_path / "tmp").iterdir()) == []
    assert list_spool(tmp_path) == []


def test_spool_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(SubmissionError, match="spool"):
        write_spool(tmp_path / "spool", b"x")


def test_only_regular_files_with_one_link_of_the_owner_are_read(tmp_path: Path) -> None:
    good = write_spool(tmp_path, b"x")
    link = good.parent / "link.tx"
    link.symlink_to(good)
    fifo = good.parent / "fifo.tx"
    os.mkfifo(fifo)
    for path, reason in ((link, "symlink"), (fifo, "regular file"), (good.parent / "none.tx", "No such file")):
        with pytest.raises(SubmissionError, match=reason):
            read_spool(path)
    with pytest.raises(SubmissionError, match="belongs to user"):
        read_spool(good, owner=os.geteuid() + 1)
    os.link(good, good.parent / "second.tx")
    with pytest.raises(SubmissionError, match="one link"):
        read_spool(good)


@pytest.mark.parametrize("size", [0, limits.TRANSACTION_BYTES_MAX + 1])
def test_spool_files_of_wrong_size_are_refused(tmp_path: Path, size: int) -> None:
    path = write_spool(tmp_path, b"x")
    path.write_bytes(bytes(size))
    with pytest.raises(SubmissionError, match="bytes"):
        read_spool(path)


def test_unreadable_spool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(SubmissionError, match="Permission denied"):
        list_spool(tmp_path)
