"""What is not a chain, not readable, of another format or another chain: right class, exit code, nothing written."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from scichain_wf import audit
from scichain_wf.errors import LedgerError, ScichainError, UnsupportedVersion, UsageError
from scichain_wf.ledger import keys, rawread
from scichain_wf.ledger.fsck import fsck
from scichain_wf.model.checkpoint import Checkpoint
from tests.chains import small_chain
from tests.unit.audit.support import ids, put

pytestmark = pytest.mark.usefixtures("children")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    small_chain(tmp_path / "work" / ".scichain").close()
    return tmp_path / "work" / ".scichain"


def listing(directory: Path) -> dict[str, tuple[int, int]]:
    """Every file below a directory with size and time."""
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(directory.rglob("*")) if p.is_file()}


def outcome(root: Path, verify: Callable[..., audit.Result] = audit.verify_chain) -> tuple[str, int]:
    """(class of the error or verdict, exit code); holds that nothing was written."""
    before = listing(root.parent)
    try:
        result = verify(root, jobs=1)
        found, message = (result.verdict.value, result.exit_code), ""
    except ScichainError as error:
        found, message = (type(error).__name__, error.exit_code), str(error)
    assert not message or str(root.parent) in message
    assert listing(root.parent) == before
    return found


def test_a_directory_that_is_no_chain(tmp_path: Path) -> None:
    (tmp_path / "work" / "empty").mkdir(parents=True)
    for name in ("empty", "absent"):
        assert outcome(tmp_path / "work" / name) == ("LedgerError", 3)
        assert outcome(tmp_path / "work" / name, audit.verify_files) == ("LedgerError", 3)


def test_a_chain_of_a_newer_format(root: Path) -> None:
    put(root, [(keys.META, keys.META_FORMAT, b"2")])
    assert outcome(root) == ("UnsupportedVersion", 3)
    with pytest.raises(UnsupportedVersion):
        fsck(root, jobs=1)


@pytest.mark.parametrize("value", [b"", b"0", b"01", b"one", b"1\0", None])
def test_a_ledger_that_does_not_say_its_format(root: Path, value: bytes | None) -> None:
    put(root, [(keys.META, keys.META_FORMAT, value)])
    assert outcome(root) == ("FAILED", 1)


def test_an_lmdb_file_that_is_no_ledger(root: Path) -> None:
    import lmdb

    directory = root / "ledger" / "00000000"
    shutil.rmtree(directory)
    with lmdb.open(os.fsdecode(directory), lock=False, lib_version=0) as env, env.begin(write=True) as txn:
        txn.put(b"something", b"else")
    assert outcome(root) == ("FAILED", 1)


@pytest.mark.parametrize("size", [0, 100, 4_096, 8_192, 20_000, 50_000, 100_000, 150_000])
def test_a_file_that_was_cut_off(root: Path, size: int) -> None:
    """A short file ends its reader with SIGBUS; the caller lives to say so."""
    data = root / "ledger" / "00000000" / "data.mdb"
    with data.open("r+b") as file:
        file.truncate(size)
    assert outcome(root) == ("FAILED", 1)


def test_a_file_of_noise_and_one_of_zeros(root: Path) -> None:
    data = root / "ledger" / "00000000" / "data.mdb"
    for content in (bytes(100_000), b"noise " * 20_000):
        data.write_bytes(content)
        assert outcome(root) == ("FAILED", 1)


def test_a_half_copied_directory(root: Path, tmp_path: Path) -> None:
    (root / "ledger" / "00000000" / "data.mdb").unlink()
    assert outcome(root) == ("LedgerError", 3)
    (root / "ledger" / "00000000").rmdir()
    assert outcome(root) == ("LedgerError", 3)


def test_a_copy_without_what_lies_beside_the_ledger(root: Path) -> None:
    (root / "trust-root").unlink()
    assert outcome(root) == ("VERIFIED WITH WARNINGS", 0)
    (root / "checkpoint").unlink()
    assert outcome(root) == ("INCOMPLETE", 3)


def test_a_trust_root_or_checkpoint_of_another_chain_beside_the_ledger(root: Path, tmp_path: Path) -> None:
    small_chain(tmp_path / "other", seed=2).close()
    for name in ("trust-root", "checkpoint"):
        saved = (root / name).read_bytes()
        for content in ((tmp_path / "other" / name).read_bytes(), b"", b"\xff\xfe", saved + b"x"):
            (root / name).write_bytes(content)
            assert outcome(root) == ("FAILED", 1)
        (root / name).write_bytes(saved)


def test_a_foreign_trust_root_fails_and_nonsense_is_a_usage_error(root: Path, tmp_path: Path) -> None:
    small_chain(tmp_path / "other", seed=2).close()
    for other in (tmp_path / "other" / "trust-root", (tmp_path / "other" / "trust-root").read_text()):
        result = audit.verify_chain(root, trust_root=other, jobs=1)
        assert (result.exit_code, ids(result)) == (1, {"SC-CHAIN-090"})
    for nonsense in ("sha256:12", "no such file", tmp_path, b"x"):
        with pytest.raises(UsageError):
            audit.verify_chain(root, trust_root=nonsense)


def test_a_kept_checkpoint_may_be_text_or_file_and_nonsense_is_a_usage_error(root: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes((root / "checkpoint").read_bytes())
    for note in (kept, str(kept), kept.read_text(), kept.read_bytes()):
        assert audit.verify_chain(root, checkpoint=note, jobs=1).exit_code == 0
    assert Checkpoint.parse(kept.read_text()).size == 6
    for nonsense in ("no such file", "some\ntext\n", tmp_path):
        with pytest.raises(UsageError):
            audit.verify_chain(root, checkpoint=nonsense)


def test_read_only_media_are_enough(root: Path) -> None:
    """Mode 0444 in 0555: as root it is the absence of writes that is held, below by the listing."""
    for path in (*root.rglob("*"), root):
        path.chmod(0o444 if path.is_file() else 0o555)
    try:
        assert outcome(root) == ("VERIFIED", 0)
    finally:
        for path in (root, *root.rglob("*")):
            path.chmod(0o700)


def test_an_unreadable_directory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # modes do not stop root, who runs this in containers
    with pytest.raises(LedgerError, match="Permission denied") as caught:
        audit.verify_chain(root, jobs=1)
    assert caught.value.exit_code == 3


def test_a_chain_that_is_being_written_is_not_called_broken(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer reuses pages under a reader that holds no lock: what looks altered may only be newer."""
    monkeypatch.setattr(rawread.RawLedger, "is_overtaken", lambda _: True)
    assert outcome(root) == ("VERIFIED", 0)
    put(root, [(keys.META, b"surplus", b"")])
    assert outcome(root) == ("LedgerError", 3)


def test_a_process_with_threads_verifies_too(root: Path) -> None:
    """It must not be forked: its children are spawned."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert outcome(root) == ("VERIFIED", 0)
    finally:
        done.set()
        thread.join()
