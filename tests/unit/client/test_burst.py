"""The burst buffer: kept privately on a disk of this host, and never in a place that somebody else has a hand in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scichain_wf.client.burst import burst_directory, is_burst, write_burst
from scichain_wf.client.spool import list_spool, read_spool
from scichain_wf.errors import SubmissionError

CHAIN = bytes(range(32))


def test_record_is_kept_where_nobody_else_looks(tmp_path: Path) -> None:
    assert not is_burst(tmp_path, CHAIN)
    write_burst(tmp_path, CHAIN, b"one")
    write_burst(tmp_path, CHAIN, b"two")
    assert is_burst(tmp_path, CHAIN)
    directory = burst_directory(tmp_path, CHAIN)
    assert [read_spool(path) for path in list_spool(directory)] == [b"one", b"two"]
    assert {path.stat().st_mode & 0o7777 for path in list_spool(directory)} == {0o600}
    made = [directory.parent, directory, directory / "tmp", directory / "new"]
    assert {path.stat().st_mode & 0o7777 for path in made} == {0o700}
    assert list((directory / "tmp").iterdir()) == []


def linked(base: Path) -> None:
    base.rename(base.with_name("real"))
    base.symlink_to(base.with_name("real"))


def in_the_way(base: Path) -> None:
    base.rmdir()
    base.write_text("")


def another_users(base: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    os.chown(base, 12345, -1)


HOSTILE = {
    "symlink": (linked, "a symlink is not followed"),
    "file": (in_the_way, "not a directory"),
    "missing": (Path.rmdir, "make it"),
    "another user's": (another_users, "belongs to user 12345"),
    "open to all": (lambda base: base.chmod(0o777), "chmod +t"),
    "open to the group": (lambda base: base.chmod(0o770), "chmod +t"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_place_that_others_can_change_is_refused_and_not_touched(tmp_path: Path, case: str) -> None:
    base = tmp_path / "base"
    base.mkdir()
    prepare, said = HOSTILE[case]
    prepare(base)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SubmissionError, match="burst buffer") as refused:
        write_burst(base, CHAIN, b"x")
    assert said in str(refused.value)
    with pytest.raises(SubmissionError, match="burst buffer"):
        is_burst(base, CHAIN)
    assert sorted(tmp_path.rglob("*")) == before


def test_sticky_bit_suffices_but_not_for_what_is_ours(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    base.chmod(0o1777)
    write_burst(base, CHAIN, b"x")
    directory = burst_directory(base, CHAIN)
    elsewhere = tmp_path / "elsewhere"
    directory.rename(elsewhere)
    directory.symlink_to(elsewhere)
    with pytest.raises(SubmissionError, match="is not a directory"):
        write_burst(base, CHAIN, b"y")
    with pytest.raises(SubmissionError, match="is not a directory"):
        is_burst(base, CHAIN)
    assert [read_spool(path) for path in list_spool(elsewhere)] == [b"x"]


def test_what_the_disk_refuses_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    write_burst(tmp_path, CHAIN, b"x")
    new = burst_directory(tmp_path, CHAIN) / "new"
    new.rename(new.with_name("old"))
    new.write_text("in the way")
    with pytest.raises(SubmissionError, match=r"^burst buffer .*: File exists$"):
        write_burst(tmp_path, CHAIN, b"y")
    assert list((new.parent / "tmp").iterdir()) == []
