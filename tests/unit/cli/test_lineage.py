"""`scichain-wf lineage` and `diff`: trees, graphs, JSON, and names that would be obeyed by a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from scichain_wf.cli import lineage as command
from scichain_wf.model.transaction import RunId
from tests.chains import DiskChain
from tests.unit.audit.support import started
from tests.unit.cli.kit import Say


def test_tree_goes_up_and_down(chain: DiskChain, say: Say) -> None:
    lines = say("lineage", "out/2.txt").out.splitlines()
    assert lines[0].startswith("work:00112233445566aa/out/2.txt  sha256:")
    assert lines[1].startswith("└─ rule n=2  (test 1, run ")
    assert lines[2].startswith("   ├─ work:00112233445566aa/raw.txt  sha256:")
    assert lines[2].endswith("(source)")
    assert [line.split("rule ")[1][:4] for line in lines if "rule" in line] == ["n=2 ", "n=1 ", "n=0 "]
    down = say("lineage", "out/9.txt", "--down").out
    assert down.count("rule n=") == 2
    assert "(source)" not in down


def test_graph_and_json(chain: DiskChain, say: Say) -> None:
    graph = say("lineage", "out/1.txt", "--dot").out
    assert graph.startswith("digraph lineage {\n")
    assert '[shape=box, label="rule n=1"];' in graph
    assert graph.count("->") == 5  # two inputs and one output, one input and one output
    assert [step["task"] for step in say("lineage", "out/1.txt", "--json").json["steps"]] == ["rule n=1", "rule n=0"]
    said = say("lineage", "nothing.txt")
    assert said.code == 2
    assert "no task on this chain" in said.err


def test_long_trees_are_cut_and_say_so(chain: DiskChain, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_LINES_MAX", 4)
    lines = say("lineage", "out/11.txt").out.splitlines()
    assert lines[4:] == ["… cut after 4 lines; --json has all 12 tasks"]


def test_hostile_names_are_shown_and_not_obeyed(tmp_path: Path, say: Say) -> None:
    with started(tmp_path / ".scichain") as chain:
        build = chain.builder
        task = build.task('a\x1b[2J"\\', [build.artifact("x")], [build.artifact("y", b"1")])
        again = build.task("b", [build.artifact("y", b"1"), build.artifact("y", b"1")], [build.artifact("z", b"2")])
        chain.block(1, [task, again])
    named = "work:00112233445566aa/z"
    tree = say("lineage", named, "--chain", str(tmp_path)).out
    graph = say("lineage", named, "--dot", "--chain", str(tmp_path)).out
    assert "\x1b" not in tree + graph
    assert "not hashed" in tree
    assert tree.count(" …\n") == 1  # the second time it is not unfolded
    assert r'label="a\\x1b[2J\"\\"' in graph


def test_difference_of_two_runs_is_said(tmp_path: Path, say: Say) -> None:
    with started(tmp_path / ".scichain") as chain:
        build, runs = chain.builder, list[str]()
        for number in (1, 2):
            made = [build.artifact(f"o{at}", b"%d" % (number * (at < 7))) for at in range(8)]
            tasks = [build.task("random", [], made), build.task("same"), build.task("other", params=number)]
            tasks += [build.task(f"only {number} {at}") for at in range(60)]
            chain.block(1, [*tasks, build.run_end(63)])
            runs.append(build.run.hex())
            build.run = RunId(build.key())
    said = say("diff", *runs, "--chain", str(tmp_path))
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "1 tasks are the same"
    assert lines[1] == "1 tasks with the same inputs, parameters and code made other outputs"
    assert lines[3].endswith("and 2 more")
    assert "      changed  params" in lines
    assert lines.count("  and 10 more (--json has them all)") == 2
    assert len(say("diff", *runs, "--json", "--chain", str(tmp_path)).json["only_after"]) == 60
    assert say("diff", runs[0], "ffff", "--chain", str(tmp_path)).code == 2
