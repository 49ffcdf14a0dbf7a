"""Key files: what is written, and everything that is refused instead of used."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from scichain_wf import keystore
from scichain_wf.crypto.signing import SigningKey
from scichain_wf.errors import ConfigError, DecodeError, UsageError

KEY = SigningKey.from_seed(bytes(range(32)))
LINE = b"scichain-wf-key-v1 " + bytes(range(32)).hex().encode() + b"\n"
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX modes, links and FIFOs")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A saved key."""
    file = tmp_path / "node.key"
    keystore.save(file, KEY)
    return file


def mode(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


# --- what is written --------------------------------------------------------------------------------
def test_saved_key_is_loaded_again(path: Path) -> None:
    assert path.read_bytes() == LINE
    assert keystore.load(path).seed == KEY.seed
    assert keystore.load(str(path)).public == KEY.public


def test_generated_keys_differ() -> None:
    assert keystore.generate().seed != keystore.generate().seed


@posix
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_key_file_is_for_its_owner_only_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        keystore.save(tmp_path / "keys" / "node.key", KEY)
    finally:
        os.umask(before)
    assert mode(tmp_path / "keys" / "node.key") == 0o600
    assert mode(tmp_path / "keys") == 0o700


def test_existing_key_is_never_overwritten(path: Path) -> None:
    with pytest.raises(UsageError, match="never overwritten"):
        keystore.save(path, keystore.generate())
    assert path.read_bytes() == LINE


@posix
def test_key_is_not_saved_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(UsageError, match="never overwritten"):
        keystore.save(tmp_path / "link", KEY)
    assert not (tmp_path / "target").exists()


def test_key_below_a_file_cannot_be_saved(path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        keystore.save(path / "node.key", KEY)
    assert path.read_bytes() == LINE


@pytest.mark.parametrize("failing_call", [1, 2])
def test_no_file_is_left_when_the_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_call: int
) -> None:
    calls = 0

    def refuse(_descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing_call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    if failing_call == 2 and os.name != "posix":
        pytest.skip("there is no directory to synchronise")
    with pytest.raises(ConfigError, match="No space left on device"):
        keystore.save(tmp_path / "node.key", KEY)
    assert calls == failing_call
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_left_by_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_descriptor: int) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        keystore.save(tmp_path / "node.key", KEY)
    assert list(tmp_path.iterdir()) == []


def test_no_seed_is_in_a_message(path: Path) -> None:
    path.write_bytes(LINE[:-1])
    with pytest.raises(DecodeError) as refusal:
        keystore.load(path)
    assert KEY.seed.hex()[:8] not in str(refusal.value)


# --- what is refused --------------------------------------------------------------------------------
@posix
@pytest.mark.parametrize("bits", [0o640, 0o604, 0o666, 0o610, 0o601, 0o620, 0o700 | 0o010, 0o2640])
def test_key_file_readable_by_group_is_refused_with_the_remedy(path: Path, bits: int) -> None:
    path.chmod(bits)
    with pytest.raises(ConfigError) as refusal:
        keystore.load(path)
    assert f"mode {bits:04o}" in str(refusal.value)
    assert f"chmod 600 {path}" in str(refusal.value)
    path.chmod(0o600)
    assert keystore.load(path).seed == KEY.seed


@posix
def test_remedy_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    file = tmp_path / "my key; rm x"
    keystore.save(file, KEY)
    file.chmod(0o644)
    with pytest.raises(ConfigError) as refusal:
        keystore.load(file)
    assert f"`chmod 600 '{file}'`" in str(refusal.value)


@posix
@pytest.mark.parametrize("bits", [0o400, 0o600, 0o700])
def test_key_file_for_its_owner_only_is_used(path: Path, bits: int) -> None:
    path.chmod(bits)
    assert keystore.load(path).seed == KEY.seed


@posix
def test_key_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(ConfigError, match=f"belongs to user id {owner}, not to {owner + 1}"):
        keystore.load(path)


@posix
def test_key_file_behind_a_symbolic_link_is_refused(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    with pytest.raises(ConfigError, match="symbolic link"):
        keystore.load(link)


@posix
def test_fifo_is_refused_without_hanging(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    refusals: list[Exception] = []

    def attempt() -> None:
        try:
            keystore.load(fifo)
        except ConfigError as error:
            refusals.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(timeout=10)
    assert not thread.is_alive(), "load hangs on a FIFO"
    assert "not a regular file" in str(refusals[0])


@posix
def test_directory_and_device_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, Path(os.devnull)):
        with pytest.raises(ConfigError, match="not a regular file"):
            keystore.load(path)


@posix
def test_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short by definition
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(ConfigError, match="cannot be read"):
            keystore.load("socket")


def test_absent_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no key file .*absent\.key"):
        keystore.load(tmp_path / "absent.key")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        LINE[:10],
        LINE[:-1],
        LINE[:-2] + b"\n",
        LINE + b"\n",
        LINE + LINE,
        LINE[:-1] + b"0\n",
        LINE[:-1] + b"\r\n",
        LINE.upper(),
        LINE.replace(b"0a", b"0A"),
        LINE.replace(b"v1", b"v2"),
        LINE.replace(b" ", b"  "),
        b" " + LINE,
        b"\xef\xbb\xbf" + LINE,
        LINE.replace(b"0001", b"000g"),
        bytes(32),
        b"\xff" * len(LINE),
    ],
)
def test_file_of_another_form_is_refused_and_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=r"is not a key file of scichain-wf"):
        keystore.load(path)
    assert path.read_bytes() == content


@posix
def test_no_descriptor_is_left_open(path: Path, tmp_path: Path) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    before = len(os.listdir("/proc/self/fd"))
    for attempt in (path, tmp_path, tmp_path / "absent"):
        try:
            keystore.load(attempt)
        except ConfigError:
            continue
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_posix_modes_only_form_and_kind_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keystore, "_POSIX", False)
    file = tmp_path / "node.key"
    keystore.save(file, KEY)
    file.chmod(0o644)
    assert keystore.load(file).seed == KEY.seed
