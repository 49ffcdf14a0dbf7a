"""`scichain-wf sim`: how a cluster of any size agrees, with a given network, load, faults and liars.

The consensus is the real one; network, disks, clocks and processors are simulated. What is printed follows from the
options alone; figures of this machine go to standard error.
"""

from __future__ import annotations

import resource
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from scichain_wf import errors
from scichain_wf.cli.output import say, say_fields, say_json, say_table
from scichain_wf.cli.simoptions import sim_options
from scichain_wf.sim import presets, summary
from scichain_wf.sim.checkers import TAGS
from scichain_wf.sim.config import SimConfig
from scichain_wf.sim.scenario import Outcome, Scenario, build
from scichain_wf.sim.shrink import shrink
from scichain_wf.sim.violations import Violation

if TYPE_CHECKING:
    from scichain_wf.sim.world import World

_SHRINK_RUNS: Final = 60
_EPILOG: Final = """\b
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

    Exits with 0 if no promise broke, 1 if one did, 130 after Ctrl-C (what was reached so far is printed).
    """
    runs = _Runs(check)
    interrupted = False
    try:
        for number in range(seed, seed + seeds):
            if runs.run(_scenario(number, options)).violation is not None:
                break
    except KeyboardInterrupt:
        interrupted = True
    as_text = str(json_file) != "-"
    if as_text:
        _show(runs.outcomes, check, interrupted)
    broken = [outcome for outcome in runs.outcomes if outcome.violation is not None]
    replays = [] if interrupted else [_shrunk(outcome) for outcome in broken]
    for line in replays if as_text else []:
        say("replay", indent=2)
        say(line, indent=4)
    if json_file is not None:
        _write_json(json_file, runs, replays)
    if plot_file is not None:
        _write_plot(plot_file, runs.outcomes)
    runs.say_machine()
    if interrupted:
        raise KeyboardInterrupt
    return errors.EXIT_INTEGRITY if broken else errors.EXIT_OK


def _scenario(seed: int, options: dict[str, Any]) -> Scenario:
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
    return presets.scenario(config, options["faults"], options["liars"], named, lies, options["probe"])


class _Runs:
    """Runs scenarios one after the other, and remembers what they came to, the interrupted one included."""

    def __init__(self, check: bool) -> None:
        self._check = check
        self.outcomes: list[Outcome] = []
        self.wall_s = self.cpu_s = 0.0

    def run(self, scenario: Scenario) -> Outcome:
        """One run, up to the first broken promise."""
        world = build(scenario)
        if not self._check:
            world.observers.clear()
        begun, cpu = time.perf_counter(), time.process_time()
        violation = None
        try:
            with _live(world):
                world.run()
        except Violation as error:
            violation = error
        finally:
            self.wall_s += time.perf_counter() - begun
            self.cpu_s += time.process_time() - cpu
            self.outcomes.append(Outcome(scenario, world.result(), violation))
        return self.outcomes[-1]

    def machine(self) -> dict[str, float | int | str]:
        """What this machine needed for it."""
        events = sum(outcome.result.events for outcome in self.outcomes)
        return {
            "wall_s": round(self.wall_s, 3),
            "cpu_s": round(self.cpu_s, 3),
            "events_per_cpu_s": round(events / self.cpu_s) if self.cpu_s else 0,
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "python": sys.version.split()[0],
        }

    def say_machine(self) -> None:
        """The same as one line on standard error."""
        found = self.machine()
        memory = int(found["peak_rss_bytes"]) / 2**20
        speed = f"{self.cpu_s:.1f} s of a processor, {found['events_per_cpu_s']:,} events in each"
        click.echo(f"took {self.wall_s:.1f} s ({speed}), {memory:.0f} MiB at most", err=True)


def _live(world: World) -> AbstractContextManager[object]:
    """What a run has come to, on standard error, if that is a terminal. The run does not know that it is watched."""
    if not sys.stderr.isatty():
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


def _show(outcomes: Sequence[Outcome], check: bool, interrupted: bool) -> None:
    """The verdict, then the table."""
    if not outcomes:
        return
    last = outcomes[-1]
    so_far = " until it was interrupted" if interrupted else ""
    if last.violation is not None:
        say(f"BROKEN {last.violation} (seed {last.result.seed})", "bad")
    elif check:
        say(f"no promise broke{so_far} ({len(TAGS)} checked after every event)", "odd" if interrupted else "good")
    else:
        say(f"no promise was checked{so_far}", "odd")
    if len(outcomes) == 1:
        say_fields(summary.fields(last.result))
    else:
        say_table(summary.HEADINGS, map(summary.row, outcomes))


def _shrunk(outcome: Outcome) -> str:
    """The command of the smallest run found that breaks the same promise."""
    click.echo("making it smaller (Ctrl-C: as it is) …", err=True)
    best = outcome.scenario

    def fails(scenario: Scenario) -> str | None:
        nonlocal best
        try:
            build(scenario).run()
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


def _write_json(file: Path, runs: _Runs, replays: Iterable[str]) -> None:
    document = {
        "runs": [
            {
                **summary.value(outcome.result),
                "command": ["scichain-wf", "sim", *presets.replay(outcome.scenario)],
                "violation": str(outcome.violation) if outcome.violation else None,
            }
            for outcome in runs.outcomes
        ],
        "replays": list(replays),
        "machine": runs.machine(),
    }
    if str(file) == "-":
        say_json(document)
    else:
        import json

        file.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_plot(file: Path, outcomes: Sequence[Outcome]) -> None:
    from scichain_wf.sim import plot

    results = [outcome.result for outcome in outcomes]
    samples = {
        "transaction: submitted to durable": [1e3 * s for result in results for s in result.durable_s],
        "block: proposed to durable": [1e3 * s for result in results for s in result.certified_s],
    }
    nodes = f"{results[0].nodes} nodes" if results else ""
    chart = plot.cdf(f"Commit latency, {nodes}", "milliseconds", samples)
    file.write_text(chart, encoding="utf-8")
