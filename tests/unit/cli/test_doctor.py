"""`doctor`: real file systems that are small, full, read-only or lack something; each is named with a remedy."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from scichain_wf import keystore, limits
from scichain_wf.cli.doctor import filesystem, host, memory
from scichain_wf.cli.doctor.burst import burst_check
from scichain_wf.cli.doctor.check import Check, Level, size
from tests.chains import DiskChain
from tests.mounts import mounted, tmpfs
from tests.unit.cli.kit import Say

TRIALS = {"exclusive creation", "hard links", "locks", "memory maps", "fsync", "room"}


def by_name(checks: Iterable[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def place(directory: Path) -> dict[str, Check]:
    before = sorted(directory.iterdir()) if directory.is_dir() else None
    checks = by_name(filesystem.place_checks(directory))
    assert before == (sorted(directory.iterdir()) if directory.is_dir() else None), "a trial left something behind"
    assert all(check.remedy for check in checks.values() if check.level is not Level.OK)
    return checks


# --- the command --------------------------------------------------------------------------------------
def test_sound_chain_is_said_to_be_sound(chain: DiskChain, say: Say) -> None:
    for name in ("authority", "storage"):
        key = chain.root / "keys" / f"{name}.key"
        key.parent.mkdir(mode=0o700, exist_ok=True)
        keystore.save(key, keystore.generate())
    said = say("doctor", "--json")
    checks = {check["name"]: check for check in said.json["checks"]}
    assert checks["chain"]["found"] == f"sha256:{chain.builder.chain.hex()}, 6 links"
    assert {checks[name]["level"] for name in [*TRIALS, "chain", "channels", "software"]} == {"ok"}
    assert said.code == (0 if said.json["sound"] else 3)
    text = say("doctor")
    assert text.code == said.code
    assert text.out.splitlines()[-1].endswith("in the way")


def test_keys_that_others_can_read_are_in_the_way(chain: DiskChain, say: Say) -> None:
    key = chain.root / "keys" / "storage.key"
    keystore.save(key, keystore.generate())
    key.chmod(0o644)
    said = say("doctor")
    assert said.code == 3
    assert "others may use key file" in said.out
    assert keystore.generate().seed.hex() not in said.out


def test_chain_that_does_not_exist_yet_may_be_examined_and_is_not_made(
    tmp_path: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = {check["name"]: check for check in say("doctor", "--json", "--chain", "a/b").json["checks"]}
    assert "none in a/b yet" in found["chain"]["found"]
    assert list(tmp_path.iterdir()) == []


def test_damaged_ledger_is_named_and_mistakes_are_usage_errors(
    chain: DiskChain, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    [file] = chain.root.glob("ledger/*/data.mdb")
    file.write_bytes(b"")
    said = say("doctor")
    assert said.code == 3
    assert "data.mdb" in said.out
    assert say("doctor", "--nonsense").code == 2
    monkeypatch.setenv("SCICHAIN_NODES", "none")
    assert say("doctor").code == 2


# --- the chain's file system ----------------------------------------------------------------------------
def test_ordinary_directory_passes_every_trial(tmp_path: Path) -> None:
    checks = place(tmp_path / "not" / "there" / "yet")
    assert {name for name in TRIALS if checks[name].level is Level.OK} == TRIALS
    assert not (tmp_path / "not").exists()


def test_memory_is_no_place_for_a_chain(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "m", "size=4g") as memory_:
        checks = place(memory_)
    assert checks["file system"].level is Level.WARN
    assert "tmpfs" in checks["file system"].found
    assert {checks[name].level for name in TRIALS} == {Level.OK}


def test_read_only_place_is_in_the_way(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "m", "ro") as readonly:
        checks = place(readonly / "chain")
    assert checks["chain directory"].level is Level.FAIL
    assert "Read-only file system" in checks["chain directory"].found
    assert not TRIALS & checks.keys()


def test_full_place_is_in_the_way(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "m", "size=1m") as full:
        (full / "big").write_bytes(bytes(900_000))
        checks = place(full)
    assert (checks["fsync"].level, checks["fsync"].found) == (Level.FAIL, "No space left on device")
    assert checks["room"].level is Level.FAIL


def test_place_without_inodes_is_in_the_way(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "m", "nr_inodes=2") as full:
        (full / "last").touch()
        checks = place(full)
    assert [check.level for name, check in checks.items() if name in TRIALS | {"chain directory"}] == [Level.FAIL]


def test_little_room_is_worth_a_word(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "m", "size=200m") as small:
        assert place(small)["room"].level is Level.WARN


def test_fuse_mount_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    with mounted(tmp_path / "fuse", ["bindfs", str(tmp_path / "below"), str(tmp_path / "fuse")]) as fuse:
        checks = place(fuse)
    assert "fuse" in checks["file system"].found


def test_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    checks = place(tmp_path / "file" / "chain")
    assert checks.keys() == {"chain directory"}
    assert "is not a directory" in checks["chain directory"].found


@pytest.mark.parametrize(
    ("path", "purged"),
    [
        ("/scratch/u/chain", True),
        ("/lustre/scratch1/u", True),
        ("/p/SCRATCH-weekly/u", True),
        ("/data/tmp/u", True),
        ("/srv/project/template/u", False),
        ("/srv/attempts/u", False),
    ],
)
def test_scratch_space_is_recognised_by_its_name(path: str, purged: bool) -> None:
    assert (filesystem._purge(Path(path)).level is Level.WARN) is purged


@pytest.mark.parametrize(
    ("trial", "call", "result", "said"),
    [
        ("hard links", "link", OSError(1, "Operation not permitted"), "Operation not permitted"),
        ("hard links", "link", None, "No such file or directory"),
        ("fsync", "fsync", OSError(5, "Input/output error"), "Input/output error"),
    ],
)
def test_what_a_file_system_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trial: str, call: str, result: OSError | None, said: str
) -> None:
    def answer(*_: object) -> None:
        if result is not None:
            raise result

    monkeypatch.setattr(os, call, answer)  # no file system here lacks it
    assert (place(tmp_path)[trial].level, place(tmp_path)[trial].found) == (Level.FAIL, said)


def test_lock_that_two_processes_get_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # as file systems do that only pretend
    check = place(tmp_path)["locks"]
    assert check.level is Level.FAIL
    assert check.found == "two processes locked one file: while it was locked granted, then granted"


def test_map_that_shows_nothing_new_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = filesystem._HELPER.replace("os.pwrite(fd,", "len(")  # a writer whose bytes this host does not see
    monkeypatch.setattr(filesystem, "_HELPER", helper.replace(" * 4096, 0)", ")"))
    assert place(tmp_path)["memory maps"].found == "a memory map does not show what another process wrote"


# --- shared memory ----------------------------------------------------------------------------------------
def shared(base: Path) -> dict[str, Check]:
    return by_name(memory.memory_checks(base))


def test_shared_memory_with_room_is_fine(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "shm", "size=1g,mode=1777,noexec") as base:
        checks = shared(base)
    assert checks["shared memory"].level is Level.OK
    assert "1.0 GiB of 1.0 GiB free" in checks["shared memory"].found
    assert "noexec" in checks["shared memory"].found


@pytest.mark.parametrize(
    ("options", "level"),
    [("size=1m,mode=1777", Level.FAIL), ("size=16m,mode=1777", Level.WARN), ("size=1g,mode=777", Level.WARN)],
)
def test_small_or_open_shared_memory_is_named(tmp_path: Path, options: str, level: Level) -> None:
    with tmpfs(tmp_path / "shm", options) as base:
        assert shared(base)["shared memory"].level is level


def test_full_shared_memory_is_named(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "shm", "size=64m,mode=1777") as base:
        (base / "big").write_bytes(bytes((64 << 20) - limits.SHM_FREE_BYTES_MIN + 1))
        assert shared(base)["shared memory"].level is Level.FAIL


def test_shared_memory_that_is_none_or_cannot_be_written(tmp_path: Path) -> None:
    assert shared(tmp_path / "absent")["shared memory"].level is Level.FAIL
    (tmp_path / "file").touch()
    assert shared(tmp_path / "file")["shared memory"].level is Level.FAIL
    with tmpfs(tmp_path / "shm", "ro,mode=1777") as base:
        assert "may not be written" in shared(base)["shared memory"].found
    (tmp_path / "disk").mkdir()
    assert "is not memory" in shared(tmp_path / "disk")["shared memory"].found


def test_outbox_directory_that_is_not_ours_alone_is_in_the_way(tmp_path: Path) -> None:
    ours = tmp_path / f"scichain-{os.geteuid()}"
    assert shared(tmp_path)["outboxes"].level is Level.OK
    ours.mkdir(mode=0o700)
    assert shared(tmp_path)["outboxes"].level is Level.OK
    ours.chmod(0o755)
    assert "open to other users" in shared(tmp_path)["outboxes"].found
    ours.rmdir()
    ours.symlink_to(tmp_path)
    assert "is not a directory" in shared(tmp_path)["outboxes"].found
    ours.unlink()
    ours.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(ours, 12345, -1)
        assert "belongs to user 12345" in shared(tmp_path)["outboxes"].found


# --- host ------------------------------------------------------------------------------------------------
YEAR_S = 365 * 86_400.0


@pytest.mark.parametrize(
    ("same", "earlier", "level", "said"),
    [
        ({"server": 1e9 + 2}, {"link": 1e9 - YEAR_S}, Level.OK, "server differs by 2 s"),
        ({}, {}, Level.OK, "2001-09-09 01:46:40 UTC"),
        ({"server": 1e9 + 300}, {}, Level.WARN, "server differs by 300 s"),
        ({"server": 1e9 - YEAR_S, "other": 1e9}, {}, Level.FAIL, "server differs by 365 days"),
        ({}, {"the newest link": 1e9 + YEAR_S}, Level.FAIL, "the newest link is 365 days later"),
        ({}, {"the newest link": 1e9 + 30}, Level.OK, "2001"),
    ],
)
def test_clock_is_held_against_others(
    same: dict[str, float], earlier: dict[str, float], level: Level, said: str
) -> None:
    check = host.clock_check(1e9, same, earlier)
    assert check.level is level
    assert said in check.found


def test_hardware_clock_is_read_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_RTC", tmp_path / "rtc")
    assert host.hardware_clock_s() is None
    (tmp_path / "rtc").write_text("1000000000\n")
    assert host.hardware_clock_s() == 1e9


def test_two_ends_meet_on_loopback() -> None:
    assert host.channel_check().level is Level.OK


def test_loopback_that_is_down_is_in_the_way() -> None:
    code = "from scichain_wf.cli.doctor.host import channel_check as c; r = c(); print(r.level, '|', r.found)"
    command = ["unshare", "--net", sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    tried = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if "unshare" in tried.stderr:
        pytest.skip("only root can make a network namespace")
    assert tried.stdout.startswith("fail | loopback with TLS 1.3: "), tried.stderr


def test_engine_that_does_not_find_its_plugin_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_PLUGINS", "print('[\"9.0\", true, false]')")
    [check] = host.engine_checks()
    assert (check.level, check.found) == (Level.FAIL, "9.0 does not find our executor plugin")
    monkeypatch.setattr(host, "_PLUGINS", "print('[\"9.0\", true, true]')")
    assert [check.level for check in host.engine_checks()] == [Level.OK]
    monkeypatch.setattr(host, "_PLUGINS", "raise SystemExit('boom \\x1b[31m')")
    [check] = host.engine_checks()
    assert (check.level, check.found) == (Level.FAIL, "cannot be asked: boom \x1b[31m")
    monkeypatch.setattr(host, "find_spec", lambda _: None)
    assert [check.level for check in host.engine_checks()] == [Level.OK]


def test_engine_is_asked_without_what_lies_in_this_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a module of the current directory was imported')\n")
    monkeypatch.chdir(tmp_path)
    [check] = host.engine_checks()
    assert "current directory" not in check.found


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (200 << 20, "200 MiB"), (1 << 70, "1024 EiB")]
)
def test_sizes_are_for_people(number: int, text: str) -> None:
    assert size(number) == text


# --- the burst buffer ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "level", "said"),
    [
        ("size=2g,mode=1777", Level.WARN, "gone when this machine restarts"),
        ("size=1m,mode=1777", Level.FAIL, "free"),
        ("ro,mode=1777", Level.FAIL, "it may not be written"),
        ("mode=777", Level.FAIL, "chmod +t"),
    ],
)
def test_burst_buffer_that_is_of_little_use_is_named(tmp_path: Path, options: str, level: Level, said: str) -> None:
    with tmpfs(tmp_path / "t", options) as base:
        check = burst_check(base)
    assert (check.level, said in check.found) == (level, True), check
    assert check.remedy


def test_burst_buffer_on_a_disk_is_sound_and_one_of_ours_that_is_open_is_not(tmp_path: Path) -> None:
    assert burst_check(tmp_path).level is Level.OK
    (tmp_path / f"scichain-{os.geteuid()}").mkdir()
    (tmp_path / f"scichain-{os.geteuid()}").chmod(0o755)
    check = burst_check(tmp_path)
    assert (check.level, "open to other users" in check.found) == (Level.FAIL, True)
