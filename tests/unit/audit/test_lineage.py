"""Lineage, up and down: along digests, over runs, under other names, and where records came late."""

from __future__ import annotations

from pathlib import Path

import pytest

from scichain_wf.audit import lineage as lineages
from scichain_wf.audit.lineage import Lineage, lineage
from scichain_wf.errors import UsageError
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.link import Annotation, Mark
from scichain_wf.model.transaction import RunId
from tests.builders import ROOT_ID
from tests.chains import DiskChain, InProcess, small_chain
from tests.unit.audit.support import started


@pytest.fixture(autouse=True)
def isolated_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(function: object, *arguments: object) -> object:
        with InProcess():
            return function(*arguments)  # type: ignore[operator]

    monkeypatch.setattr(lineages, "isolated", call)


def tasks(found: Lineage) -> list[str]:
    return [step.task for step in found.steps]


def named(name: str) -> str:
    return f"work:{ROOT_ID}/{name}"


def closed(chain: DiskChain) -> Path:
    chain.close()
    return chain.root


def test_every_step_up_and_down_is_found(tmp_path: Path) -> None:
    root = closed(small_chain(tmp_path / "work" / ".scichain", tasks=6))
    up = lineage(root, tmp_path / "work" / "out" / "3.txt", up=True)
    assert tasks(up) == [f"rule n={n}" for n in (3, 2, 1, 0)]
    assert [a.uri for a in up.steps[-1].inputs] == [named("raw.txt")]
    down = lineage(root, named("out/3.txt"), up=False)
    assert tasks(down) == ["rule n=4", "rule n=5"]
    assert down.to_json()["steps"][0]["inputs"][0]["uri"] == named("out/3.txt")
    assert tasks(lineage(root, named("out/5.txt"), up=False)) == []


@pytest.mark.parametrize("name", ["nothing.txt", named("nothing.txt"), "value:x", "\udcff"])
def test_what_nobody_recorded_is_told(tmp_path: Path, name: str) -> None:
    root = closed(small_chain(tmp_path / ".scichain", tasks=2))
    with pytest.raises(UsageError, match="no task on this chain says"):
        lineage(root, name, up=True)




def test_digest_decides_which_version_was_read(tmp_path: Path) -> None:
    with started(tmp_path / ".scichain") as chain:
        build = chain.builder
        chain.block(1, [build.task("first", [], [build.artifact("x", b"1")])])
        chain.block(1, [build.task("second", [], [build.artifact("x", b"2")])])
        chain.block(1, [build.task("reads old", [build.artifact("x", b"1")], [build.artifact("y", b"3")])])
        chain.block(1, [build.task("reads any", [build.artifact("x")], [build.artifact("z", b"4")])])
    assert tasks(lineage(chain.root, named("y"), up=True)) == ["reads old", "first"]
    assert tasks(lineage(chain.root, named("z"), up=True)) == ["reads any", "second"]
    assert tasks(lineage(chain.root, named("x"), up=False)) == ["reads any"]


def test_unhashed_read_after_somebody_elses_version_is_not_of_this_one(tmp_path: Path) -> None:
    with started(tmp_path / ".scichain") as chain:
        build = chain.builder
        chain.block(1, [build.task("a", [], [build.artifact("x", b"1")])])
        chain.block(1, [build.task("copy", [build.artifact("x", b"1")], [build.artifact("y", b"2")])])
        chain.block(1, [build.task("other", [], [build.artifact("y", b"3")])])
        chain.block(1, [build.task("reads y", [build.artifact("y")], [])])
    assert tasks(lineage(chain.root, named("x"), up=False)) == ["copy"]


def test_content_under_another_name_is_followed_over_runs(tmp_path: Path) -> None:
    with started(tmp_path / ".scichain") as chain:
        build = chain.builder
        chain.block(1, [build.task("maker", [build.artifact("raw", b"r")], [build.artifact("x", b"1")])])
        build.run = RunId(build.key())
        moved: JsonObject = build.artifact("x", b"1") | {"uri": "file:///other/place/x"}
        chain.block(1, [build.task("reader", [moved], [build.artifact("y", b"2")])])
    up = lineage(chain.root, named("y"), up=True)
    assert tasks(up) == ["reader", "maker"]
    [(read, recorded)] = up.same
    assert (read.uri, recorded.uri) == ("file:///other/place/x", named("x"))
    down = lineage(chain.root, named("x"), up=False)
    assert tasks(down) == ["reader"]
    assert down.same == up.same


def test_two_empty_files_are_not_one(tmp_path: Path) -> None:
    with started(tmp_path / ".scichain") as chain:
        build = chain.builder
        chain.block(1, [build.task("maker", [], [build.artifact("x", b"")])])
        empty: JsonObject = build.artifact("x", b"") | {"uri": "file:///other/empty"}
        chain.block(1, [build.task("reader", [empty], [build.artifact("y", b"2")])])
    assert tasks(lineage(chain.root, named("y"), up=True)) == ["reader"]
    assert tasks(lineage(chain.root, named("x"), up=False)) == []


def test_records_that_came_late_are_part_of_it(tmp_path: Path) -> None:
    with started(tmp_path / ".scichain") as chain:
        build = chain.builder
        chain.block(1, [build.task("a", [], [build.artifact("x", b"1")])])
        reader = build.task("last", [build.artifact("y", b"2") | {"origin": "task:b"}], [build.artifact("z", b"3")])
        chain.append(build.poet(build.block(1, [reader]), (Annotation(0, Mark.UNRESOLVED, ("late",)),)))
        chain.block(1, [build.task("b", [build.artifact("x", b"1")], [build.artifact("y", b"2")])])
    assert tasks(lineage(chain.root, named("z"), up=True)) == ["last", "b", "a"]
    assert sorted(tasks(lineage(chain.root, named("x"), up=False))) == ["b", "last"]
