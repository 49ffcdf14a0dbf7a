"""`scichain-wf sim`: what it prints, refuses, writes, and how it ends."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from scichain_wf import cli
from scichain_wf.cli import sim
from scichain_wf.sim import observe, presets
from scichain_wf.sim import scenario as scenarios
from scichain_wf.sim.config import SimConfig
from scichain_wf.sim.faults import Fault, Kind
from scichain_wf.sim.scenario import Scenario
from scichain_wf.sim.violations import Violation
from scichain_wf.sim.world import World

SMALL = ["sim", "--nodes=3", "--duration=0.4"]


class AtLink:
    """Raises when the link of some height is durable."""

    def __init__(self, height: int, error: Callable[[], BaseException]) -> None:
        self._height, self._error = height, error

    def observe(self, _world: object, what: observe.Observation) -> None:
        if isinstance(what, observe.LinkDurable) and what.link.height == self._height:
            raise self._error()


def broken_at(monkeypatch: pytest.MonkeyPatch, height: int, error: Callable[[], BaseException]) -> None:
    """Every world of the command breaks at this link."""
    build = scenarios.build

    def breaking(scenario: Scenario) -> World:
        world = build(scenario)
        world.observers.append(AtLink(height, error))
        return world

    monkeypatch.setattr(sim, "build", breaking)


def lines(text: str) -> dict[str, str]:
    """`name value` lines by name."""
    pairs = [line.strip().split("  ", 1) for line in text.splitlines() if line.startswith("  ") and "  " in line[2:]]
    return {pair[0]: pair[1].strip() for pair in pairs}


def test_same_seed_prints_the_same_and_another_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for seed in ("1", "1", "2"):
        assert cli.run([*SMALL, "--seed", seed, "--faults=all", "--drain=60", "--no-check"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert lines(printed[0])["chain"] != lines(printed[2])["chain"]


def test_summary_says_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(SMALL) == 0
    said = capsys.readouterr()
    assert said.out.startswith("no promise broke (13 checked after every event)\n")
    shown = lines(said.out)
    assert shown["nodes"] == "3"
    assert shown["POET share"] == "0.00 %"
    committed, _, submitted, *_ = shown["transactions"].split()
    assert int(committed) == int(submitted) > 5
    assert " of a processor" in said.err
    assert "MiB" in said.err


def test_no_check_claims_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*SMALL, "--no-check"]) == 0
    assert capsys.readouterr().out.startswith("no promise was checked\n")


def test_json_is_the_same_but_for_the_machine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    assert cli.run([*SMALL, "--json=-"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert cli.run([*SMALL, "--json", str(file)]) == 0
    written = json.loads(file.read_text())
    assert printed.pop("machine").keys() == written.pop("machine").keys()
    assert printed == written
    [run] = printed["runs"]
    assert (run["nodes"], run["violation"], len(run["durable_s"])) == (3, None, 101)
    assert run["durable_s"] == sorted(run["durable_s"])


def test_plot_is_one_svg_document(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "latency.svg"
    assert cli.run([*SMALL, "--plot", str(file)]) == 0
    capsys.readouterr()
    root = ET.fromstring(file.read_text())  # noqa: S314  it is our own
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Commit latency, 3 nodes", "milliseconds", "transaction: submitted to durable"} <= set(texts)


def test_several_seeds_are_one_row_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*SMALL, "--seed=5", "--seeds=3"]) == 0
    verdict, headings, *rows = capsys.readouterr().out.splitlines()
    assert verdict.startswith("no promise broke")
    assert headings.split()[:4] == ["SEED", "NODES", "BLOCKS", "POET"]
    assert [row.split()[0] for row in rows] == ["5", "6", "7"]


def test_broken_promise_ends_with_1_and_a_smaller_command_that_shows_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken_at(monkeypatch, 4, lambda: Violation("SAFE-5", "made up"))
    assert cli.run([*SMALL, "--nodes=5", "--seed=7", "--seeds=3", "--faults=all", "--liars=1"]) == 1
    first, *_, replay = capsys.readouterr().out.splitlines()
    assert first == "BROKEN SAFE-5: made up (seed 7)"
    command = shlex.split(replay.strip())
    assert command[:2] == ["scichain-wf", "sim"]
    assert {"--nodes=1", "--seed=7"} <= set(command)
    assert not [argument for argument in command if argument.startswith(("--fault", "--lie"))]
    assert cli.run([*command[1:], "--json=-"]) == 1
    assert json.loads(capsys.readouterr().out)["runs"][0]["violation"] == "SAFE-5: made up"


def test_what_is_never_committed_is_broken_however_long_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spec: LIVE-1."""

    def crashed(scenario: Scenario) -> World:
        world = scenarios.build(scenario)
        world.kernel.at(0.2, world.crash, 1)  # and nobody starts it again
        return world

    monkeypatch.setattr(sim, "build", crashed)
    assert cli.run([*SMALL, "--drain=5"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("BROKEN LIVE-1: ")
    assert " of slots [1] were not committed after " in said.out
    assert "--nodes=1" in said.out.splitlines()[-1]
    assert "too short" not in said.out + said.err


def test_promise_that_breaks_while_a_short_run_goes_on_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class AfterEnd:
        def observe(self, world: observe.Clock, what: observe.Observation) -> None:
            if isinstance(what, observe.LinkDurable) and world.now > 5.4:
                raise Violation("SAFE-5", "made up")

    def breaking(scenario: Scenario) -> World:
        world = scenarios.build(scenario)
        world.observers.append(AfterEnd())
        return world

    monkeypatch.setattr(sim, "build", breaking)
    assert cli.run([*SMALL, "--difficulty=6", "--drain=5"]) == 1
    assert capsys.readouterr().out.startswith("BROKEN SAFE-5: made up (seed 1)")


def test_interrupt_prints_what_was_reached_and_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken_at(monkeypatch, 4, KeyboardInterrupt)
    with pytest.raises(SystemExit) as ended:
        cli.main(SMALL)
    assert ended.value.code == 130
    said = capsys.readouterr()
    assert said.out.startswith("no promise broke until it was interrupted")
    assert int(lines(said.out)["blocks"]) > 0
    assert said.err.endswith("scichain-wf: interrupted\n")


def test_interrupt_while_making_it_smaller_keeps_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken_at(monkeypatch, 4, lambda: Violation("SAFE-5", "made up"))

    def interrupted(*_: object) -> Scenario:
        raise KeyboardInterrupt

    monkeypatch.setattr(sim, "shrink", interrupted)
    assert cli.run(SMALL) == 1
    assert "--nodes=3" in capsys.readouterr().out.splitlines()[-1]


def test_watching_changes_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(SMALL) == 0
    alone = capsys.readouterr().out
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert cli.run(SMALL) == 0
    said = capsys.readouterr()
    assert said.out == alone
    assert "seed 1: " in said.err


def asked_for(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> Scenario:
    """The scenario that a command line means."""
    met: list[Scenario] = []

    def stop(scenario: Scenario) -> Any:
        met.append(scenario)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sim, "build", stop)
        with pytest.raises(KeyboardInterrupt):
            cli.run(arguments)
    return met[0]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--nodes=6", "--duration=11", "--faults=all,rollback", "--liars=2", "--seed=-3"],
        ["--difficulty=adaptive", "--mining=race", "--quorum=byzantine", "--storage-weight=2", "--rate=0.1"],
        ["--latency=lognormal:250:0.5", "--tail-links=9", "--real-signatures", "--drain=70.25", "--probe=40.3"],
        [
            "--fault=crash:0.1:0.2:3",
            "--fault=loss:0:0.3::0.25",
            "--fault=cut:0:1e-05:0,1",
            "--lie=2:forge",
            "--liars=1",
        ],
    ],
)
def test_replay_asks_for_the_same_scenario(monkeypatch: pytest.MonkeyPatch, options: list[str]) -> None:
    scenario = asked_for(monkeypatch, ["sim", *options])
    assert asked_for(monkeypatch, ["sim", *presets.replay(scenario)]) == scenario


def test_faults_fill_the_time_of_the_load() -> None:
    config = SimConfig(nodes=4, duration_s=12.0, drain_s=100.0)
    scenario = presets.scenario(config, presets.kinds("crash,loss"), liars=2)
    assert {fault.kind for fault in scenario.faults} == {Kind.CRASH, Kind.LOSS}
    assert max(fault.at for fault in scenario.faults) > 5.0
    assert all(fault.until <= 12.0 for fault in scenario.faults)
    assert scenario.probe_s == 62.0
    assert len(scenario.liars) == 2


def test_all_faults_are_all_but_rollback() -> None:
    assert set(presets.kinds("all")) == set(Kind) - {Kind.ROLLBACK}
    assert presets.kinds("none") == ()
    assert presets.kinds("rollback,crash") == (Kind.CRASH, Kind.ROLLBACK)


def test_fault_text_is_read_back() -> None:
    for fault in (Fault(Kind.CUT, 0.1, 1 / 3, (0, 2)), Fault(Kind.LOSS, 0.0, 2.0, (), 0.1)):
        assert presets.fault(presets.fault_text(fault)) == fault
