"""`scichain-wf watch`: `status`, again and again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scichain_wf import limits
from scichain_wf.cli.locate import chain_option, find_chain
from scichain_wf.cli.output import coloured, escaped, say
from scichain_wf.config import load_config

if TYPE_CHECKING:
    from rich.table import Table

    from scichain_wf.cli.standing import Standing


def _checked_interval(_ctx: click.Context, _option: click.Parameter, value: float) -> float:
    if not limits.WATCH_S_MIN <= value <= limits.WATCH_S_MAX:  # click's own range lets NaN through
        raise click.BadParameter(f"{value:g} is not from {limits.WATCH_S_MIN:g} to {limits.WATCH_S_MAX:g} seconds")
    return value


@click.command(epilog="Example: scichain-wf watch --interval 5")
@click.option(
    "--interval",
    type=float,
    callback=_checked_interval,
    default=1.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many looks. Default: until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per look, each on a line.")
@chain_option
def command(*, interval: float, count: int | None, as_json: bool, chain: Path | None) -> None:
    """Watch the chain grow, until Ctrl-C. On a terminal one table that changes, elsewhere one line per look."""
    looks = _looks(find_chain(chain), interval, count)
    try:
        if as_json:
            for standing in looks:
                say(json.dumps(standing.to_json(), sort_keys=True))
                sys.stdout.flush()
        elif sys.stdout.isatty():
            _live(looks)
        else:
            for standing in looks:
                say(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC  {standing.line()}")
                sys.stdout.flush()
    except KeyboardInterrupt:
        return  # that is how a watch ends


def _looks(chain_dir: Path, interval_s: float, count: int | None) -> Iterator[Standing]:
    from scichain_wf.cli.standing import look

    burst, number = load_config(Path.cwd()).burst_buffer, 0
    while True:
        yield look(chain_dir, burst)
        number += 1
        if number == count:
            return
        _pause(interval_s)


def _pause(pause_s: float) -> None:
    """In bites: of a Ctrl-C just before a sleep begins, Python hears when that sleep is over."""
    end = time.monotonic() + pause_s
    while (left_s := end - time.monotonic()) > 0:
        time.sleep(min(left_s, limits.INTERRUPT_S))


def _live(looks: Iterator[Standing]) -> None:
    from rich.console import Console
    from rich.live import Live

    before: Standing | None = None
    with Live(console=Console(no_color=not coloured()), auto_refresh=False) as live:
        for standing in looks:
            live.update(_table(standing, 0 if before is None else standing.links - before.links), refresh=True)
            before = standing


def _table(standing: Standing, grown: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_row(Text("chain"), Text(escaped(standing.chain)))  # `Text`: markup in a name stays text
    for name, value in standing.fields():
        if value:
            more = f" (+{grown})" if name == "links" and grown else ""
            table.add_row(Text(name), Text(escaped(value) + more))
    return table
