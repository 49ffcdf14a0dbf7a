"""What a hook says of a path."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from scichain_wf import filehash, limits
from scichain_wf.filehash import FileDigest
from scichain_wf.hooks.artifacts import Artifact, Artifacts
from scichain_wf.hooks.digests import Hashing, HashPolicy
from scichain_wf.hooks.naming import Naming
from scichain_wf.model.bodies import INPUT, ArtifactState
from scichain_wf.model.schema import check_record


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def looker(tmp_path: Path, problems: list[str]) -> Artifacts:
    return Artifacts(Naming([tmp_path]), problems.append)


def look(looker: Artifacts, path: str | bytes, state: ArtifactState | None = None) -> Artifact:
    found = looker.look(path, "0", state=state)
    assert found is not None
    check_record(INPUT, found.value, "input")
    return found


def test_file_is_recorded_with_digest_size_and_time(tmp_path: Path, looker: Artifacts) -> None:
    (tmp_path / "f").write_bytes(b"content")
    value = look(looker, "f").value
    assert value["state"] == "file"
    assert value["digest"] == "sha256:" + hashlib.sha256(b"content").hexdigest()
    assert value["size_bytes"] == 7
    assert value["mtime_us"] == (tmp_path / "f").stat().st_mtime_ns // 1000
    assert "unstable" not in value


def test_directory_is_recorded_with_the_number_of_its_files(tmp_path: Path, looker: Artifacts) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("x")
    found = look(looker, "d")
    assert (found.value["state"], found.value["files"], found.value["size_bytes"]) == ("directory", 1, 1)


def test_absent_pipe_and_device_are_recorded_unopened(tmp_path: Path, looker: Artifacts) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert look(looker, "none").value["state"] == "absent"
    assert look(looker, "pipe").value["state"] == "pipe"
    assert look(looker, "/dev/zero").value["state"] == "unhashed"
    (tmp_path / "declared").write_text("x")
    assert look(looker, "declared", ArtifactState.PIPE).value == {
        "uri": looker.naming.uri("declared"),
        "role": "0",
        "state": "pipe",
    }


@pytest.mark.parametrize("state", [ArtifactState.TEMPORARY, ArtifactState.CACHED])
def test_declared_state_stands_in_for_file_and_keeps_the_digest(
    tmp_path: Path, looker: Artifacts, state: ArtifactState
) -> None:
    (tmp_path / "f").write_text("x")
    value = look(looker, "f", state).value
    assert value["state"] == state
    assert "digest" in value


def test_unreadable_file_is_recorded_unhashed_and_reported(
    tmp_path: Path, looker: Artifacts, problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("x")

    def denied(path: bytes) -> FileDigest:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(filehash, "hash_file", denied)
    assert look(looker, "f").value["state"] == "unhashed"
    assert "Permission denied" in problems[0]


def test_symlink_loop_is_recorded_and_not_followed_for_ever(tmp_path: Path, looker: Artifacts) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert look(looker, "loop").value["state"] in ("unhashed", "absent")


def test_path_without_a_name_is_a_problem_and_no_record(looker: Artifacts, problems: list[str]) -> None:
    assert looker.look("nul\0", "0") is None
    assert "not recorded" in problems[0]


def test_file_that_changes_while_it_is_read_is_marked_unstable(
    tmp_path: Path, looker: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("x")
    monkeypatch.setattr(filehash, "hash_file", lambda path: FileDigest(bytes(32), 1, 1, stable=False))
    assert look(looker, "f").value["unstable"] is True


def test_content_can_be_seen_elsewhere_than_it_is_named(tmp_path: Path, looker: Artifacts) -> None:
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / "out").write_text("x")
    found = looker.look("out", "0", seen_at="shadow/out")
    assert found is not None
    assert found.value["uri"] == looker.naming.uri("out")
    assert found.value["state"] == "file"


def counting(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    calls: list[bytes] = []
    real = filehash.hash_file

    def count(path: bytes, **more: bool) -> FileDigest:
        calls.append(path)
        return real(path, **more)

    monkeypatch.setattr(filehash, "hash_file", count)
    return calls


def test_file_at_rest_is_hashed_once_and_a_young_one_every_time(
    tmp_path: Path, looker: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counting(monkeypatch)
    (tmp_path / "f").write_text("x")
    first = look(looker, "f")
    look(looker, "f")
    assert len(calls) == 2  # it might have been written twice within one tick
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 10_000_000_000)
    assert look(looker, "f").value == look(looker, "f").value == first.value
    assert len(calls) == 3


def test_digest_is_not_reused_after_a_change(
    tmp_path: Path, looker: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 10_000_000_000)
    path = tmp_path / "f"
    path.write_text("x")
    first = look(looker, "f")
    status = path.stat()
    path.write_text("y")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # size and modification time forged
    assert look(looker, "f").value["digest"] != first.value["digest"]


def test_second_look_hashes_only_what_is_another_file(
    tmp_path: Path, looker: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counting(monkeypatch)
    path = tmp_path / "f"
    path.write_text("x")
    first = look(looker, "f")
    assert looker.again(first, "f") is first
    assert len(calls) == 1
    path.write_text("longer")
    assert looker.again(first, "f").value["size_bytes"] == 6
    path.unlink()
    assert looker.again(first, "f").value["state"] == "absent"
    pipe = look(looker, "f", ArtifactState.PIPE)
    assert looker.again(pipe, "f") is pipe


def with_policy(tmp_path: Path, problems: list[str], policy: HashPolicy) -> Artifacts:
    return Artifacts(Naming([tmp_path]), problems.append, Hashing(policy))


def test_each_policy_shows_in_the_record(tmp_path: Path, problems: list[str]) -> None:
    (tmp_path / "f").write_text("xy")
    (tmp_path / "d").mkdir()
    shown = {}
    for policy in HashPolicy:
        looker = with_policy(tmp_path, problems, policy)
        for path in ("f", "d"):
            value = look(looker, path).value
            hashed, size_bytes = "digest" in value, value.get("size_bytes")
            shown[policy.value, path] = (value["state"], value.get("policy"), hashed, size_bytes)
        assert look(looker, "none").value["state"] == "absent"
    assert shown == {
        ("always", "f"): ("file", "full", True, 2),
        ("always", "d"): ("directory", "full", True, 0),
        ("cached", "f"): ("file", None, True, 2),
        ("cached", "d"): ("directory", None, True, 0),
        ("size-mtime", "f"): ("unhashed", "size-mtime", False, 2),
        ("size-mtime", "d"): ("unhashed", "size-mtime", False, None),
        ("off", "f"): ("unhashed", None, False, None),
        ("off", "d"): ("unhashed", None, False, None),
    }
    assert problems == []


def test_policy_always_reads_a_file_at_rest_each_time(
    tmp_path: Path, problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 10_000_000_000)
    calls = counting(monkeypatch)
    looker = with_policy(tmp_path, problems, HashPolicy.ALWAYS)
    (tmp_path / "f").write_text("x")
    assert look(looker, "f").value == look(looker, "f").value
    assert len(calls) == 2


def test_size_and_time_are_looked_at_again_at_the_end(tmp_path: Path, problems: list[str]) -> None:
    looker = with_policy(tmp_path, problems, HashPolicy.SIZE_MTIME)
    (tmp_path / "f").write_text("x")
    first = look(looker, "f")
    assert looker.again(first, "f") is first
    (tmp_path / "f").write_text("longer")
    assert looker.again(first, "f").value["size_bytes"] == 6


def test_a_new_time_that_the_engine_gave_is_no_reason_to_hash_again(
    tmp_path: Path, looker: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    path.write_text("x")
    first = look(looker, "f")
    os.utime(path, ns=(7_000, 7_000))
    monkeypatch.setattr(looker, "_file_digest", None)  # whoever hashes fails
    again = looker.again(first, "f", touched=True)
    assert again.value == first.value | {"mtime_us": 7}
    assert looker.again(again, "f") is again
    monkeypatch.undo()
    path.write_text("y")
    os.utime(path, ns=(0, 9_000))
    assert looker.again(again, "f", touched=True).value["digest"] != first.value["digest"]
    path.write_text("longer")
    assert looker.again(again, "f", touched=True).value["size_bytes"] == 6
    path.unlink()
    assert looker.again(again, "f", touched=True).value["state"] == "absent"


def test_patterns_and_a_size_say_which_files_are_not_read(tmp_path: Path, problems: list[str]) -> None:
    (tmp_path / "raw").mkdir()
    for name in ("raw/reads", "a.bam", "b.txt"):
        (tmp_path / name).write_text("xy")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate((1 << 20) + 1)
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 20)
    hashing = Hashing(size_mtime_patterns=("raw/*", "*.bam", "raw"), size_mtime_above_mib=1)
    looker = Artifacts(Naming([tmp_path]), problems.append, hashing)
    shown = {path: look(looker, path).value for path in ("raw/reads", "a.bam", "b.txt", "huge", "big", "raw/")}
    unread = {path for path, value in shown.items() if value["state"] == "unhashed"}
    assert unread == {"raw/reads", "a.bam", "huge", "raw/"}
    assert {shown[path]["policy"] for path in unread} == {"size-mtime"}
    assert all("digest" in shown[path] for path in ("b.txt", "big"))
    off = Artifacts(Naming([tmp_path]), problems.append, Hashing(HashPolicy.OFF, ("*.bam",)))
    assert "policy" not in look(off, "a.bam").value
    assert problems == []


def test_files_of_a_directory_get_records_of_their_own_without_being_read_twice(
    tmp_path: Path, looker: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d" / "below").mkdir(parents=True)
    for name in ("b", "a", "below/c"):
        (tmp_path / "d" / name).write_text(name)
    calls = counting(monkeypatch)
    inside: dict[bytes, FileDigest] = {}
    looker.look("d", "0", inside=inside)
    assert len(calls) == 3
    values = looker.members(inside, "0/")
    assert len(calls) == 3
    assert [str(value["uri"]).partition("/")[2] for value in values] == ["d/a", "d/b", "d/below/c"]
    assert [value["digest"] for value in values] == [
        look(looker, f"d/{n}").value["digest"] for n in ("a", "b", "below/c")
    ]
    monkeypatch.setattr(limits, "DIRECTORY_MEMBERS_MAX", 2)
    assert len(looker.members(inside, "0/")) == 2


def test_file_that_vanishes_while_it_is_looked_at_is_absent(
    tmp_path: Path, looker: Artifacts, problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = filehash.hash_file

    def vanishing(path: bytes, **more: bool) -> FileDigest:
        os.unlink(path)
        return real(path, **more)

    monkeypatch.setattr(filehash, "hash_file", vanishing)
    (tmp_path / "f").write_text("x")
    assert look(looker, "f").value["state"] == "absent"
    assert problems == []
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "inside").write_text("x")
    assert look(looker, "d").value["state"] == "unhashed"
    assert problems[0].endswith(f"/d is recorded without its digest: {tmp_path}/d/inside: No such file or directory")


def test_many_paths_are_looked_at_in_order_and_without_those_that_have_no_name(
    tmp_path: Path, looker: Artifacts, problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HASH_APART_BYTES_MIN", 2)
    names: list[str | bytes] = ["a", "b", "none", "nul\0", "c"]
    for number, name in enumerate("abc"):
        (tmp_path / name).write_bytes(bytes(number + 1))
    found = looker.look_all(names, ["0", "1", "2", "3", "4"])
    assert [(item.value["role"], item.value["state"]) for item in found] == [
        ("0", "file"),
        ("1", "file"),
        ("2", "absent"),
        ("4", "file"),
    ]
    assert [item.value.get("size_bytes") for item in found] == [1, 2, None, 3]
    assert len(problems) == 1
