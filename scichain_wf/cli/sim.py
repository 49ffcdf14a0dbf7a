"""`scichain-wf sim`: how a cluster of any size agrees, with a given network, load, faults and liars.

The consensus is the real one; network, disks, clocks and processors are simulated. What is printed follows from the
options alone; figures of this machine go to standard error.
"""

from __future__ import annotations

import math
import resource
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from scichain_wf import errors, limits
from scichain_wf.cli.files import write
from scichain_wf.cli.output import escaped, json_text, say, say_fields, say_json, say_table
from scichain_wf.cli.simoptions import FORMS_HELP, sim_options
from scichain_wf.cli.terminable import terminable
from scichain_wf.sim import limits as bounds
from scichain_wf.sim import observe, presets, summary
from scichain_wf.sim.checkers import TAGS
from scichain_wf.sim.config import SimConfig
from scichain_wf.sim.scenario import Outcome, Scenario, build
from scichain_wf.sim.shrink import shrink
from scichain_wf.sim.violations import Violation

if TYPE_CHECKING:
    from scichain_wf.sim.world import World

_SHRINK_RUNS: Final = 60
_OF_THE_END: Final = ("LIVE-1", "CONV-1")
"""What must be so at the end of a run, and may become so only later."""
_EPILOG: Final = f"""{FORMS_HELP}

\b
Examples:
  scichain-wf sim --nodes 20 --latency infiniband
  scichain-wf sim --nodes 7 --faults all --liars 3 --seeds 50
  scichain-wf sim --nodes 100 --difficulty adaptive --mining race --plot latency.svg
  scichain-wf sim --nodes 1024 --rate 2 --duration 60 --no-check --json result.json
"""


@click.command(epilog=_EPILOG)
@sim_options
def command(json_file: Path | None, plot_file: Path | None, seed: int, seeds: int, check: bool, **options: Any) -> int:
    """Simulate a cluster that agrees: the real consensus on a simulated network.

    The same options print the same output on any machine. Every promise is checked after every event; if one breaks,
    the run ends, and a small command that shows it again is printed.

    Exits with 0 if no promise broke, 1 if one did, 2 if the options make no sense or a run was too short to tell, 130
    after Ctrl-C or SIGTERM (what was reached so far is printed and written).
    """
    if json_file is not None and json_file == plot_file:
        raise errors.UsageError(f"--json, --plot: both name {str(json_file)!r}; name two files")
    if seed + seeds - 1 > limits.INTEGER_MAX:
        raise errors.UsageError(f"--seeds: the last seed would be above {limits.INTEGER_MAX:,}; choose fewer")
    runs = _Runs(check)
    with terminable():
        try:
            for number in range(seed, seed + seeds):
                if not runs.run(_scenario(number, check, options)):
                    break
        except KeyboardInterrupt:
            runs.interrupted = True
            if not runs.outcomes:
                raise
        return _report(runs, json_file, plot_file)


def _report(runs: _Runs, json_file: Path | None, plot_file: Path | None) -> int:
    """Write and print everything, the files first: whoever reads the table may close it early."""
    broken = runs.outcomes[-1].violation is not None
    replays = [_shrunk(runs.outcomes[-1])] if broken and not runs.interrupted else []
    document = _document(runs, replays)
    as_text = str(json_file) != "-"
    unwritten = []
    if json_file is not None and as_text:
        unwritten += _unwritten("--json", json_file, json_text(document))
    if plot_file is not None:
        unwritten += _unwritten("--plot", plot_file, _plot(runs.outcomes))
    if as_text:
        _show(runs, replays)
    else:
        say_json(document)
    runs.say_machine()
    for line in unwritten:
        click.echo(escaped(line), err=True)
    if runs.interrupted:
        raise KeyboardInterrupt
    if runs.rest_s is not None:
        config = runs.outcomes[-1].scenario.config
        drain_s = math.ceil(runs.rest_s - config.duration_s)
        raise errors.ConfigError(
            f"--drain {config.drain_s:g}: too short for this load; with --drain {drain_s} everything is committed"
        )
    return errors.EXIT_INTEGRITY if broken else errors.EXIT_INCOMPLETE if unwritten else errors.EXIT_OK


def _scenario(seed: int, check: bool, options: dict[str, Any]) -> Scenario:
    config = SimConfig(
        nodes=options["nodes"],
        seed=seed,
        duration_s=options["duration"],
        drain_s=options["drain"],
        rate=options["rate"],
        difficulty=options["difficulty"],
        mining=options["mining"],
        quorum=options["quorum"],
        storage_weight=options["storage_weight"],
        latency=options["latency"],
        tail_links=options["tail_links"],
        real_signatures=options["real_signatures"],
    )
    named, lies = options["named"], options["lies"]
    scenario = presets.scenario(config, options["faults"], options["liars"], named, lies, options["probe"])
    if check:
        presets.decidable(scenario)
    return scenario


class _Runs:
    """Runs scenarios one after the other, and remembers what they came to, an interrupted one included.

    Attributes:
        check: whether promises are checked.
        outcomes: of each run.
        interrupted: whether the last run was.
        rest_s: when everything would have been committed, if the last run was too short for that; else None.
        left_open: what it had left open; "" if nothing.
    """

    def __init__(self, check: bool) -> None:
        self.check = check
        self.outcomes: list[Outcome] = []
        self.interrupted = False
        self.rest_s: float | None = None
        self.left_open = ""
        self._wall_s = self._cpu_s = 0.0

    def run(self, scenario: Scenario) -> bool:
        """One run, up to the first broken promise; whether another may follow."""
        world = build(scenario)
        if not self.check:
            world.observers.clear()
        begun, cpu = time.perf_counter(), time.process_time()
        found: Violation | None = None
        try:
            with _live(world):
                world.run()
        except Violation as error:
            found = error
        finally:
            self._wall_s += time.perf_counter() - begun
            self._cpu_s += time.process_time() - cpu
            if world.kernel.events:  # else it was interrupted before there was anything
                self.outcomes.append(Outcome(scenario, world.result()))
        if found is None:
            return True
        try:
            self.rest_s = _rest_s(world, found)
            self.left_open = str(found)
        except Violation as error:
            self.outcomes[-1].violation = error
        return False

    def machine(self) -> dict[str, float | int | str]:
        """What this machine needed for it."""
        events = sum(outcome.result.events for outcome in self.outcomes)
        return {
            "wall_s": round(self._wall_s, 3),
            "cpu_s": round(self._cpu_s, 3),
            "events_per_cpu_s": round(events / self._cpu_s) if self._cpu_s else 0,
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "python": sys.version.split()[0],
        }

    def say_machine(self) -> None:
        """The same as one line on standard error."""
        found = self.machine()
        memory = int(found["peak_rss_bytes"]) / 2**20
        speed = f"{self._cpu_s:.1f} s of a processor, {found['events_per_cpu_s']:,} events in each"
        click.echo(f"took {self._wall_s:.1f} s ({speed}), {memory:.0f} MiB at most", err=True)


def _rest_s(world: World, found: Violation) -> float:
    """When a run has kept what it had left open at its end, if it goes on.

    Raises:
        Violation: `found`, if it did not come from the end; one of the time after it; or what is still open when
            nothing more becomes durable.
    """
    if found.tag not in _OF_THE_END or world.now < world.config.duration_s + world.config.drain_s:
        raise found
    while True:
        size = world.disk.size
        world.kernel.run(world.now + bounds.SIM_REST_S)
        try:
            world.tell(observe.EndOfRun())
        except Violation:
            if world.disk.size == size or world.now > bounds.SIM_SECONDS_MAX:
                raise
        else:
            return world.kernel.last


def _live(world: World) -> AbstractContextManager[object]:
    """What a run has come to, on standard error, if that is a terminal. The run does not know that it is watched."""
    if sys.stderr is None or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    def shown() -> Text:
        return Text(
            f"seed {world.config.seed}: {world.now:.2f} of at most {world.config.duration_s + world.config.drain_s:g}"
            f" virtual s, {world.kernel.events:,} events, {world.disk.size:,} links"
        )

    return Live(get_renderable=shown, console=Console(stderr=True), transient=True, refresh_per_second=5)


def _show(runs: _Runs, replays: Iterable[str]) -> None:
    """The verdict, then the table."""
    last = runs.outcomes[-1]
    so_far = " until it was interrupted" if runs.interrupted else ""
    if last.violation is not None:
        say(f"BROKEN {last.violation} (seed {last.result.seed})", "bad")
    elif runs.left_open:
        say(f"undecided, the run was too short: {runs.left_open} (seed {last.result.seed})", "odd")
    elif runs.check:
        say(f"no promise broke{so_far} ({len(TAGS)} checked after every event)", "odd" if runs.interrupted else "good")
    else:
        say(f"no promise was checked{so_far}", "odd")
    if len(runs.outcomes) == 1:
        say_fields(summary.fields(last.result))
    else:
        say_table(summary.HEADINGS, map(summary.row, runs.outcomes))
    for line in replays:
        say("replay", indent=2)
        say(line, indent=4)


def _shrunk(outcome: Outcome) -> str:
    """The command of the smallest run found that breaks the same promise."""
    click.echo(f"BROKEN {outcome.violation}; making the run smaller (Ctrl-C: as it is) …", err=True)
    best = outcome.scenario

    def fails(scenario: Scenario) -> str | None:
        nonlocal best
        world = build(scenario)
        try:
            try:
                world.run()
            except Violation as found:
                _rest_s(world, found)
        except Violation as error:
            if outcome.violation is not None and error.tag == outcome.violation.tag:
                best = scenario
            return error.tag
        return None

    try:
        best = shrink(outcome.scenario, fails, _SHRINK_RUNS)
    except KeyboardInterrupt:
        pass
    return shlex.join(["scichain-wf", "sim", *presets.replay(best)])


def _document(runs: _Runs, replays: Sequence[str]) -> dict[str, Any]:
    """Everything as JSON."""
    return {
        "runs": [
            {
                **summary.value(outcome.result),
                "command": ["scichain-wf", "sim", *presets.replay(outcome.scenario)],
                "violation": str(outcome.violation) if outcome.violation else None,
            }
            for outcome in runs.outcomes
        ],
        "interrupted": runs.interrupted,
        "left_open": runs.left_open or None,
        "replays": list(replays),
        "machine": runs.machine(),
    }


def _unwritten(option: str, file: Path, text: str) -> list[str]:
    """Write a file; what to say if that fails."""
    try:
        write(file, text)
    except OSError as error:
        return [f"{option} {str(file)!r} was not written: {error.strerror}; make room, or name another file"]
    return []


def _plot(outcomes: Sequence[Outcome]) -> str:
    from scichain_wf.sim import plot

    results = [outcome.result for outcome in outcomes]
    samples = {
        "transaction: submitted to durable": [1e3 * s for result in results for s in result.durable_s],
        "block: proposed to durable": [1e3 * s for result in results for s in result.certified_s],
    }
    return plot.cdf(f"Commit latency, {results[0].nodes} nodes", "milliseconds", samples)
