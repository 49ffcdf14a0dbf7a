"""Creating and opening a chain store, and every refusal to."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import lmdb
import pytest

from scichain_wf.crypto.merkle import leaf_hash
from scichain_wf.errors import (
    DecodeError,
    InvariantViolation,
    LedgerCorrupt,
    LedgerError,
    ScichainError,
    UnsupportedVersion,
)
from scichain_wf.ledger import engine
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from scichain_wf.model.link import Mode
from tests.builders import ChainBuilder
from tests.unit.ledger.kit import fingerprint, new_chain, size_of


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A directory with a small chain that nobody has open."""
    _, store = new_chain(tmp_path / "ledger")
    store.close()
    return tmp_path / "ledger"


def refused(directory: Path, error: type[ScichainError], message: str, **options: bool) -> None:
    """Opening is refused with that message, and nothing below the parent directory has changed."""
    before = fingerprint(directory.parent)
    with pytest.raises(error, match=message) as caught:
        ChainStore.open(directory, **options)
    assert type(caught.value) is error
    assert fingerprint(directory.parent) == before


# --- create ------------------------------------------------------------------------------------------
def test_a_new_chain_has_its_genesis_at_height_0_and_its_id_is_that_links_hash(tmp_path: Path) -> None:
    builder = ChainBuilder(1, 1)
    with ChainStore.create(tmp_path / "deep" / "ledger", builder.genesis) as store, store.view() as view:
        link = view.head()
        assert (view.size, link.height, link.previous, link.certificate) == (1, 0, bytes(32), None)
        assert (link.mode, link.epoch, link.writer, link.time_us) == (Mode.EPOCH, 0, 0, builder.genesis.header.time_us)
        assert view.chain_id == leaf_hash(view.link_bytes(0)) == view.root()
        assert view.block_bytes(0) == builder.genesis.encode()
    assert os.listdir(tmp_path / "deep" / "ledger") == ["data.mdb"]
    assert (tmp_path / "deep" / "ledger" / "data.mdb").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "deep" / "ledger").stat().st_mode & 0o777 == 0o700


def test_creating_over_a_chain_is_refused_and_changes_nothing(closed: Path) -> None:
    before = fingerprint(closed)
    with pytest.raises(LedgerError, match="holds a ledger already"):
        ChainStore.create(closed, ChainBuilder(1, 2).genesis)
    assert fingerprint(closed) == before


def test_two_creators_cannot_both_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second looked before the first had finished."""
    ChainStore.create(tmp_path / "ledger", ChainBuilder(1, 1).genesis).close()
    before = fingerprint(tmp_path)
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    with pytest.raises(LedgerError, match="holds a ledger already"):
        ChainStore.create(tmp_path / "ledger", ChainBuilder(1, 2).genesis)
    assert fingerprint(tmp_path) == before


def test_a_chain_can_be_created_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with ChainStore.create(tmp_path / "ledger", ChainBuilder(1, 1).genesis) as store:
        assert size_of(store) == 1
    before = fingerprint(tmp_path)
    with monkeypatch.context() as patch:
        seen = iter([False, True])
        patch.setattr(os.path, "lexists", lambda _: next(seen))
        with pytest.raises(LedgerError, match="holds a ledger already"):
            ChainStore.create(tmp_path / "ledger", ChainBuilder(1, 1).genesis)
    assert fingerprint(tmp_path) == before


def test_a_genesis_that_is_none_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    builder = ChainBuilder(1, 1, Settings(difficulty=Difficulty(value=0)))
    malformed = replace(builder.genesis, transactions=(b"{}",))
    with pytest.raises(DecodeError):
        ChainStore.create(tmp_path / "ledger", malformed)
    builder.chain = bytes([1]) * 32
    with pytest.raises(InvariantViolation, match="the block is of chain 0101"):
        ChainStore.create(tmp_path / "ledger", builder.block(1, [builder.task("t")]))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_creating_below_a_file_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("x")
    before = fingerprint(tmp_path)
    with pytest.raises(LedgerError, match="while creating the ledger"):
        ChainStore.create(tmp_path / where, ChainBuilder(1, 1).genesis)
    assert fingerprint(tmp_path) == before


# --- open --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("readonly", [False, True])
def test_opening_writes_nothing(closed: Path, readonly: bool) -> None:
    before = fingerprint(closed)
    with ChainStore.open(closed, readonly=readonly) as store:
        assert size_of(store) == 3
    assert fingerprint(closed) == before


@pytest.mark.parametrize("readonly", [False, True])
def test_a_directory_without_a_ledger_is_refused(tmp_path: Path, readonly: bool) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "odd" / "data.mdb").mkdir(parents=True)
    refused(tmp_path / "absent", LedgerError, "absent does not exist", readonly=readonly)
    refused(tmp_path / "file", LedgerError, "file is not a directory", readonly=readonly)
    refused(tmp_path / "empty", LedgerError, r"is not a ledger: it holds no data\.mdb", readonly=readonly)
    refused(tmp_path / "odd", LedgerError, "is not a regular file", readonly=readonly)


def test_a_fifo_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data.mdb")
    with pytest.raises(LedgerError, match="is not a regular file"):
        ChainStore.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x", bytes(8192), b"SQLite format 3\0" * 1000, os.urandom(100_000)])
def test_a_file_that_is_not_lmdb_is_refused(tmp_path: Path, content: bytes) -> None:
    directory = tmp_path / "ledger"
    directory.mkdir()
    (directory / "data.mdb").write_bytes(content)
    refused(directory, LedgerCorrupt, "too few for a ledger|is not an LMDB file")


def test_a_truncated_file_is_refused_at_any_length(closed: Path) -> None:
    whole = (closed / "data.mdb").read_bytes()
    for length in [*range(0, len(whole), 4096), 100, 4095, 8191, len(whole) - 1]:
        (closed / "data.mdb").write_bytes(whole[:length])
        refused(closed, LedgerCorrupt, "truncated|too few for a ledger|is not an LMDB file")


def test_what_follows_the_last_page_does_not_matter(closed: Path) -> None:
    """A write that was cut off leaves such a tail; the next append uses its place."""
    with (closed / "data.mdb").open("ab") as file:
        file.write(b"torn" * 300)
    with ChainStore.open(closed) as store:
        assert size_of(store) == 3


def patched(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize(
    ("offset", "data", "error", "message"),
    [
        (20, struct.pack("=I", 2), UnsupportedVersion, "of LMDB format 2; this scichain-wf reads up to 1"),
        (20, struct.pack("=I", 0), LedgerCorrupt, "a meta page is damaged"),
        (16, b"\xbe\xef\xc0\xde", LedgerCorrupt, "is not an LMDB file of this byte order"),
        (10, b"\0\0", LedgerCorrupt, "is not an LMDB file"),
        (40, struct.pack("=I", 5000), LedgerCorrupt, "a meta page is damaged"),
        (4096 + 128, struct.pack("=Q", 10**6), LedgerCorrupt, "its root page 1000000 lies beyond|truncated"),
        (4096 + 136, struct.pack("=Q", 10**6), LedgerCorrupt, "truncated: .* its 1000001 pages need"),
    ],
)
def test_a_damaged_meta_page_is_refused_before_lmdb_sees_it(
    closed: Path, offset: int, data: bytes, error: type[ScichainError], message: str
) -> None:
    newest = engine.check_file(closed).transaction % 2  # LMDB writes its two meta pages in turn
    patched(closed / "data.mdb", offset if offset < 4096 else offset - 4096 + newest * 4096, data)
    refused(closed, error, message)


def foreign(directory: Path, **databases: dict[bytes, bytes]) -> Path:
    """Some LMDB environment."""
    directory.mkdir()
    with lmdb.open(str(directory), max_dbs=20, lock=False, lib_version=0) as environment:
        for name, entries in databases.items():
            database = environment.open_db(name.encode())
            with environment.begin(write=True, db=database) as txn:
                for key, value in entries.items():
                    txn.put(key, value)
    return directory


@pytest.mark.parametrize("readonly", [False, True])
def test_another_lmdb_environment_is_not_a_ledger(tmp_path: Path, readonly: bool) -> None:
    message = "holds an LMDB environment that is not a scichain-wf ledger"
    refused(foreign(tmp_path / "a", other={b"x": b"y"}), LedgerError, message, readonly=readonly)
    refused(foreign(tmp_path / "b", meta={b"x": b"y"}), LedgerError, message, readonly=readonly)


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize(
    ("stored", "error", "message"),
    [
        (b"2", UnsupportedVersion, "is of ledger format 2; this scichain-wf reads 1: install a newer one"),
        (b"100", UnsupportedVersion, "is of ledger format 100"),
        (b"x", LedgerCorrupt, "the format is b'x'"),
        (b"0", LedgerCorrupt, "the format is b'0'"),
        (b"1", LedgerCorrupt, "a database is missing"),
    ],
)
def test_the_format_is_checked(
    tmp_path: Path, stored: bytes, error: type[ScichainError], message: str, readonly: bool
) -> None:
    refused(foreign(tmp_path / "l", meta={b"format": stored}), error, message, readonly=readonly)


def test_a_chain_can_be_read_from_files_that_nobody_may_write(closed: Path) -> None:
    (closed / "data.mdb").chmod(0o444)
    closed.chmod(0o555)
    before = fingerprint(closed)
    try:
        with ChainStore.open(closed, readonly=True) as store:
            assert size_of(store) == 3
        assert fingerprint(closed) == before
    finally:
        closed.chmod(0o700)


def test_a_chain_can_be_read_from_a_read_only_mount_and_says_when_it_cannot_be_written(closed: Path) -> None:
    bind = ["mount", "--bind", str(closed), str(closed)]
    if os.geteuid() != 0 or subprocess.run(bind, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root can mount")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(closed)], check=True)
        before = fingerprint(closed)
        with ChainStore.open(closed, readonly=True) as store:
            assert size_of(store) == 3
        with pytest.raises(LedgerError, match=r"not permitted while opening the ledger .* open it read-only"):
            ChainStore.open(closed)
        with pytest.raises(LedgerError, match="Read-only file system while creating the ledger"):
            ChainStore.create(closed / "other", ChainBuilder(1, 1).genesis)
        assert fingerprint(closed) == before
    finally:
        subprocess.run(["umount", str(closed)], check=True)


@pytest.mark.parametrize("what", ["directory", "file"])
def test_what_this_user_may_not_read_is_refused(closed: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object, **__: object) -> Any:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat" if what == "directory" else "open", refuse)
        with pytest.raises(LedgerError, match=r"Permission denied.*permission"):
            ChainStore.open(closed)


def test_a_read_only_store_refuses_to_append(closed: Path) -> None:
    before = fingerprint(closed)
    with ChainStore.open(closed, readonly=True) as store, pytest.raises(LedgerError, match="read-only"), store.begin():
        pass
    assert fingerprint(closed) == before


def test_an_unfinished_creation_is_not_a_ledger_and_does_not_hinder_the_next(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent, tmp_path / "ledger" / ".create-killed")
    refused(tmp_path / "ledger", LedgerError, "is not a ledger")
    ChainStore.create(tmp_path / "ledger", ChainBuilder(1, 1).genesis).close()
