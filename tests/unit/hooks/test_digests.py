"""Digests that are not computed again: only of files that cannot have changed, and never from a table of others."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scichain_wf import filehash, limits
from scichain_wf.filehash import FileDigest
from scichain_wf.hooks.digests import Digests, shared_table

BIG = bytes(limits.DIGEST_SHARED_BYTES_MIN)


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every file had been at rest for a while."""
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 10_000_000_000)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    calls: list[bytes] = []
    real = filehash.hash_file

    def count(path: bytes, **more: bool) -> FileDigest:
        calls.append(path)
        return real(path, **more)

    monkeypatch.setattr(filehash, "hash_file", count)
    return calls


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "scichain-wf" / "digests"


@pytest.fixture
def big(tmp_path: Path) -> bytes:
    (tmp_path / "big").write_bytes(BIG)
    return os.fsencode(tmp_path / "big")


def test_another_process_finds_the_digest_of_a_big_file(table: Path, big: bytes, hashed: list[bytes]) -> None:
    first = Digests(table).of(big)
    assert first.digest == hashlib.sha256(BIG).digest()
    assert Digests(table).of(big) == first
    assert hashed == [big]
    assert table.stat().st_mode & 0o777 == 0o600
    assert table.parent.stat().st_mode & 0o777 == 0o700
    script = (
        "import sys, os; from scichain_wf import filehash; from scichain_wf.hooks.digests import Digests\n"
        "from pathlib import Path\n"
        "filehash.hash_file = None\n"
        "print(Digests(Path(sys.argv[1])).of(os.fsencode(sys.argv[2])).digest.hex())"
    )
    command = [sys.executable, "-c", script, str(table), os.fsdecode(big)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == first.digest.hex()


def test_small_files_stay_out_of_the_table(tmp_path: Path, table: Path, hashed: list[bytes]) -> None:
    (tmp_path / "small").write_text("x")
    small = os.fsencode(tmp_path / "small")
    for digests in (Digests(table), Digests(table)):
        digests.of(small)
        digests.of(small)
    assert len(hashed) == 2
    assert not table.exists()


def test_a_young_file_is_hashed_every_time(
    table: Path, big: bytes, hashed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: os.stat(big).st_ctime_ns + 1_000_000_000)
    digests = Digests(table)
    digests.of(big)
    digests.of(big)
    Digests(table).of(big)
    assert len(hashed) == 3


def test_a_file_that_is_written_while_it_is_hashed_is_not_remembered(
    table: Path, big: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = filehash.hash_file

    def slow(path: bytes) -> FileDigest:
        found = real(path)
        return FileDigest(found.digest, found.size_bytes, found.mtime_us, stable=False, identity=found.identity)

    monkeypatch.setattr(filehash, "hash_file", slow)
    Digests(table).of(big)
    monkeypatch.setattr(filehash, "hash_file", real)
    with open(big, "r+b") as file:
        file.write(b"x")
    assert Digests(table).of(big).digest == hashlib.sha256(b"x" + BIG[1:]).digest()


def test_a_changed_file_with_forged_times_is_hashed_again(table: Path, big: bytes) -> None:
    status = os.stat(big)
    first = Digests(table).of(big)
    with open(big, "r+b") as file:
        file.write(b"x")
    os.utime(big, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert Digests(table).of(big).digest != first.digest


def test_damage_to_the_table_costs_a_hash_and_nothing_else(table: Path, big: bytes, hashed: list[bytes]) -> None:
    whole = Digests(table).of(big)
    content = table.read_bytes()
    [at] = [place for place in range(len(content)) if content.startswith(whole.digest, place)]
    for place in range(at - 40, at + 36):
        table.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert Digests(table).of(big) == whole
    table.write_bytes(content[: at + 20])
    assert Digests(table).of(big) == whole
    assert len(hashed) == 1 + 40 + 36 + 1


def test_a_table_that_is_not_ours_alone_is_not_used(
    tmp_path: Path, table: Path, big: bytes, hashed: list[bytes]
) -> None:
    Digests(table).of(big)
    table.chmod(0o640)
    Digests(table).of(big)
    assert len(hashed) == 2
    table.chmod(0o600)
    os.link(table, tmp_path / "second-name")
    Digests(table).of(big)
    assert len(hashed) == 3
    table.unlink()
    table.symlink_to(tmp_path / "second-name")
    Digests(table).of(big)
    assert len(hashed) == 4
    table.unlink()
    os.mkfifo(table, 0o600)
    Digests(table).of(big)
    assert len(hashed) == 5


def test_without_a_place_for_the_table_digests_are_computed(tmp_path: Path, big: bytes, hashed: list[bytes]) -> None:
    (tmp_path / "file").write_text("")
    Digests(tmp_path / "file" / "digests").of(big)
    assert len(hashed) == 1


def test_a_bucket_holds_the_newest_state_of_a_file_and_four_files(
    tmp_path: Path, table: Path, hashed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DIGEST_TABLE_BUCKETS", 1)
    paths = [os.fsencode(tmp_path / str(number)) for number in range(4)]
    for path in paths:
        for content in (BIG, BIG + b"x"):
            Path(os.fsdecode(path)).write_bytes(content)
            Digests(table).of(path)
    hashed.clear()
    for path in paths:
        Digests(table).of(path)
    assert hashed == []
    (tmp_path / "4").write_bytes(BIG)
    Digests(table).of(os.fsencode(tmp_path / "4"))
    assert table.stat().st_size == 320


def test_digests_remembered_in_a_process_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIGEST_CACHE_MAX", 2)
    digests = Digests()
    for number in range(5):
        (tmp_path / str(number)).write_text("x")
        digests.of(os.fsencode(tmp_path / str(number)))
    assert len(digests._known) <= 2


def test_a_full_disk_costs_the_memory_of_it_only(table: Path, big: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert Digests(table).of(big).digest == hashlib.sha256(BIG).digest()


def test_the_table_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert shared_table("h") == Path("/c/scichain-wf/digests-1-h")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/h")
    assert shared_table("h") == Path("/h/.cache/scichain-wf/digests-1-h")
