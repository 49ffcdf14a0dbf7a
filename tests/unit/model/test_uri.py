"""Artifact URIs: one file, one spelling."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.errors import DecodeError, UsageError
from scichain_wf.model import uri
from scichain_wf.model.schema import Mismatch

ROOT = "00112233445566aa"
RUN = "0" * 32
NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: not {*b"/\0"} & {*name} and name not in {b".", b".."})
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)


@given(PATHS)
def test_any_path_has_a_uri_and_comes_back(path: bytes) -> None:
    assert uri.parse(uri.work_uri(ROOT, path)) == uri.ArtifactUri("work", ROOT, path)
    assert uri.parse(uri.file_uri(b"/" + path)) == uri.ArtifactUri("file", "", b"/" + path)
    assert uri.parse(uri.file_uri(b"/" + path, "node-1")) == uri.ArtifactUri("file", "node-1", b"/" + path)


@given(PATHS, PATHS)
def test_two_paths_never_share_a_uri(one: bytes, two: bytes) -> None:
    assert (uri.work_uri(ROOT, one) == uri.work_uri(ROOT, two)) == (one == two)


@given(st.text(st.sampled_from("ab./%25E~4e1-_"), max_size=14))
def test_two_accepted_spellings_never_name_one_file(tail: str) -> None:
    spelling = f"work:{ROOT}/{tail}"
    if not uri.is_uri(spelling):
        return
    path = uri.parse(spelling).path
    assert uri.work_uri(ROOT, path) == spelling
    assert posixpath.normpath(path) == path


@given(st.text(max_size=40))
def test_arbitrary_text_is_a_uri_or_a_decode_error(text: str) -> None:
    for candidate in (text, f"work:{ROOT}/{text}", f"file://{text}", f"value:{RUN}/{text}", f"s3:{text}"):
        try:
            uri.parse(candidate)
        except DecodeError:
            continue
        assert candidate.isascii()


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "a",
        "a:",
        f"work:{ROOT}/",
        f"work:{ROOT}",
        f"work:{ROOT}//a",
        f"work:{ROOT}/a/",
        f"work:{ROOT}/a//b",
        f"work:{ROOT}/./a",
        f"work:{ROOT}/a/.",
        f"work:{ROOT}/..",
        f"work:{ROOT}/a/../b",
        f"work:{ROOT}/%2e",
        f"work:{ROOT}/%2E%2E/a",
        f"work:{ROOT}/a%2Fb",
        f"work:{ROOT}/a%00",
        f"work:{ROOT}/%61",
        f"work:{ROOT}/%7E",
        f"work:{ROOT}/%5F",
        f"work:{ROOT}/%30",
        f"work:{ROOT}/%c3%a9",
        f"work:{ROOT}/%C3%A",
        f"work:{ROOT}/%",
        f"work:{ROOT}/a b",
        f"work:{ROOT}/a\n",
        f"work:{ROOT}/é",
        f"work:{ROOT}/a?b",
        f"work:{ROOT}/a#b",
        f"work:{ROOT.upper()}/a",
        f"WORK:{ROOT}/a",
        "work:short/a",
        "file:/a",
        "file:///",
        "file://HOST/a",
        "file://ho%73t/a",
        "file://../a",
        "file://host:1/a",
        "file:///a/../b",
        "value:short/a/1",
        f"value:{RUN}/a",
        f"value:{RUN}/a/0",
        f"value:{RUN}/a/01",
        f"value:{RUN}/a/b",
        f"value:{RUN}/1",
        "s3://bucket/a b",
        "s3://bucket/a\n",
        "S3://bucket/a",
        "1s3:a",
        "s3:",
        "x:" + "a" * limits.URI_BYTES_MAX,
    ],
)
def test_other_spellings_are_refused(bad: str) -> None:
    with pytest.raises(DecodeError):
        uri.parse(bad)


@pytest.mark.parametrize(
    ("good", "parts"),
    [
        (f"value:{RUN}/task%201/3", ("value", RUN, b"task 1/3")),
        ("s3://bucket/key%41?v=1", ("s3", "", b"//bucket/key%41?v=1")),
        ("x:" + "a" * (limits.URI_BYTES_MAX - 2), ("x", "", b"a" * (limits.URI_BYTES_MAX - 2))),
        ("file://host/.../.a", ("file", "host", b"/.../.a")),
    ],
)
def test_every_form_is_parsed(good: str, parts: tuple[str, str, bytes]) -> None:
    assert uri.parse(good) == uri.ArtifactUri(*parts)


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize("value", [None, 1, b"a:b", ["a:b"], {}, Text("file:///a")])
def test_a_value_of_another_type_is_refused_even_when_its_text_is_known(value: object) -> None:
    uri.check_uri("file:///a")
    with pytest.raises(Mismatch, match="expected an artifact URI"):
        uri.check_uri(value)


def test_hosts_are_written_in_lower_case() -> None:
    assert uri.file_uri(b"/a", "Node-1") == "file://node-1/a"


def test_a_value_has_a_uri_per_try() -> None:
    assert uri.value_uri(RUN, "task 1", 3) == f"value:{RUN}/task%201/3"


@pytest.mark.parametrize("path", [b"a\0b", b"", b"/a", b"a/", b"a//b", b"../a", b"."])
def test_paths_that_are_not_resolved_have_no_uri(path: bytes) -> None:
    with pytest.raises(UsageError):
        uri.work_uri(ROOT, path)


def test_a_relative_path_has_no_file_uri() -> None:
    with pytest.raises(UsageError, match="not an absolute path"):
        uri.file_uri(b"a/b")


def test_root_ids_tell_hosts_and_paths_apart() -> None:
    ids = {uri.root_id(host, path) for host in ("", "a") for path in (b"/a", b"/b")}
    assert len(ids) == 4
    assert all(len(name) == uri.ROOT_ID_CHARS for name in ids)


def test_matching_takes_linear_time() -> None:
    for hostile in ("%", "a/", "/.", "..", "%2", "a" * 100 + "%"):
        text = f"work:{ROOT}/" + hostile * (limits.URI_BYTES_MAX // len(hostile) - 10)
        assert not uri.is_uri(text)
