"""One file, one name."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from scichain_wf.errors import UsageError
from scichain_wf.hooks import naming
from scichain_wf.hooks.naming import Mounts, Naming, host_name
from scichain_wf.model.uri import check_uri, parse, root_id

LOCAL = b"22 1 8:1 / / rw - ext4 /dev/sda rw\n"
SHARED = LOCAL + b"23 22 0:5 / /shared rw,relatime shared:1 - lustre mgs:/fs rw\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "work flow"
    path.mkdir()
    return path


def test_every_spelling_of_a_path_has_one_uri(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "data").mkdir()
    (root / "data" / "a.txt").write_text("")
    (root / "link").symlink_to("data")
    (root / "data" / "alias").symlink_to(root / "data" / "a.txt")
    monkeypatch.chdir("/")  # what a job does to the process's directory changes no name
    names = Naming([root])
    spellings: list[str | bytes] = [
        "data/a.txt",
        "./data//a.txt",
        "link/a.txt",
        "data/../data/a.txt",
        str(root / "data" / "alias"),
        b"data/a.txt",
    ]
    assert {names.uri(spelling) for spelling in spellings} == {f"work:{names.roots[0].id}/data/a.txt"}


def test_root_id_depends_on_the_host_only_where_the_file_system_is_its_own() -> None:
    assert Naming(["/shared/x"], Mounts(SHARED)).roots[0].id == root_id("", b"/shared/x")
    assert Naming(["/shared/x"], Mounts(LOCAL)).roots[0].id == root_id(host_name(), b"/shared/x")


def test_a_root_that_was_handed_over_keeps_its_id_at_the_same_path_only() -> None:
    there = Naming([b"/shared/x \xff"], Mounts(SHARED)).roots[0]
    for handed_over in (there.handed_over(), f"{there.id}:"):
        [here] = Naming([there.path], Mounts(LOCAL), handed_over).roots
        assert (here.id == there.id) == handed_over.endswith("%FF")
    assert Naming(["/y"], Mounts(LOCAL), there.handed_over()).roots[0].id == root_id(host_name(), b"/y")
    for malformed in ("", "x:/y", f"{there.id}0:/y", ":/y", "/y"):
        assert Naming(["/y"], Mounts(LOCAL), malformed).roots[0].id == root_id(host_name(), b"/y")


def test_files_outside_every_root_carry_the_host_unless_shared(root: Path) -> None:
    names = Naming([root], Mounts(SHARED))
    assert names.uri("/shared/ref.fa") == "file:///shared/ref.fa"
    assert names.uri("/no/such/file") == f"file://{host_name()}/no/such/file"
    assert names.uri("/sharedx") == f"file://{host_name()}/sharedx"


def test_the_innermost_root_names_a_file(root: Path) -> None:
    inner = root / "inner"
    inner.mkdir()
    names = Naming([root, inner])
    assert names.uri("inner/x") == f"work:{root_id(host_name(), os.fsencode(inner))}/x"
    assert names.uri("x") == f"work:{root_id(host_name(), os.fsencode(root))}/x"


@pytest.mark.parametrize("name", ["with space", "nl\nin", "ünï.txt", b"non-utf8-\xff", "per%cent", "[1m", "a" * 255])
def test_odd_names_have_canonical_uris_that_lead_back(root: Path, name: str | bytes) -> None:
    uri = Naming([root]).uri(name)
    check_uri(uri)
    assert parse(uri).path == os.fsencode(name)


@pytest.mark.parametrize("path", ["nul\0", "/", "x" * 4000 + "/" + "ü" * 4000])
def test_what_has_no_name_is_refused(root: Path, path: str) -> None:
    with pytest.raises((UsageError, ValueError)):
        Naming([root]).uri(path)


def test_root_itself_is_named_by_its_absolute_path(root: Path) -> None:
    assert parse(Naming([root]).uri(".")).path == os.fsencode(root)


def test_root_record_leads_from_the_chain_to_the_root(root: Path) -> None:
    [recorded] = Naming([root]).roots
    value = recorded.value(os.fsencode(root / ".scichain"))
    assert value["from_chain"] == ".."
    assert value["path"] == str(root).replace(" ", "%20")
    assert value["host"] == host_name()


def test_mount_table_is_read_as_linux_writes_it() -> None:
    table = b"1 0 8:1 / / rw - ext4 x rw\nbroken line\n2 1 0:9 / /mnt/with\\040space rw master:1 - nfs4 srv:/ rw\n"
    mounts = Mounts(table + b"3 1 0:10 / /mnt rw - xfs y rw\n4 3 0:11 / /mnt rw - nfs z rw\n")
    assert mounts.of(b"/mnt/with space/f").kind == "nfs4"
    assert mounts.of(b"/mnt/with spaced").kind == "nfs"  # a later mount covers an earlier one
    assert mounts.of(b"/home").point == b"/"
    assert not Mounts(b"").of(b"/x").shared


def test_missing_mount_table_means_node_local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(naming, "_MOUNTS", tmp_path / "none")
    assert not Mounts().of(b"/x").shared


def test_host_name_fits_a_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "my host/ö")
    assert host_name() == "my_host__"
    monkeypatch.setattr(socket, "gethostname", lambda: "")
    assert host_name() == "localhost"


@pytest.mark.parametrize("way", ["kernel", "no O_PATH", "no /proc"])
def test_symlinks_are_resolved_whichever_way_the_platform_offers(
    root: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "no O_PATH":
        monkeypatch.setattr(naming, "_O_PATH", 0)
    if way == "no /proc":
        real = os.readlink

        def readlink(path: bytes) -> bytes:
            if os.fsencode(path).startswith(b"/proc/"):
                raise FileNotFoundError(2, "No such file or directory")
            return real(path)

        monkeypatch.setattr(os, "readlink", readlink)
    (root / "real").mkdir()
    (root / "real" / "file (deleted)").write_text("")
    (root / "alias").symlink_to("real")
    (root / "dangling").symlink_to("real/none")
    names = Naming([root])
    prefix = f"work:{names.roots[0].id}/real/"
    assert names.uri("alias/file (deleted)") == prefix + "file%20%28deleted%29"
    assert names.uri("alias/new") == prefix + "new"
    assert names.uri("dangling") == prefix + "none"
