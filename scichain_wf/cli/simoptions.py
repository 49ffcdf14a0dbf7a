"""The options of `scichain-wf sim`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from scichain_wf import limits
from scichain_wf.errors import ConfigError
from scichain_wf.sim import presets
from scichain_wf.sim.faults import Kind
from scichain_wf.sim.latency import Latency
from scichain_wf.sim.lies import LIES


class _Text(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """What `read` reads; its ConfigError becomes a message that names the option."""

    name = "text"

    def __init__(self, read: Callable[[str], Any]) -> None:
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value read, or a failure that says what is allowed."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


def _weight(text: str) -> int:
    if text == "decisive":
        return 0
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= limits.SLOTS_MAX):
        raise ConfigError(f"{text!r} is neither decisive nor 1 to {limits.SLOTS_MAX}")
    return int(text)


def _latency(text: str) -> str:
    Latency.parse(text)
    return text


def _writable(text: str) -> Path:
    """A file that can be written; said before it takes long to get what is to be in it."""
    file = Path(text)
    if text != "-" and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise ConfigError(f"{text!r} cannot be written: name a file in a directory that is there")
    return file


def _number(high: float) -> _Text:
    """0 to `high`; click's own range lets NaN pass."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= high:
            raise ConfigError(f"{text!r} is not a number from 0 to {high:,.0f}")
        return value

    return _Text(read)


_SECONDS: Final = _number(1e7)


_OPTIONS: Final = (
    click.option(
        "--nodes",
        type=click.IntRange(1, limits.SLOTS_MAX),
        default=5,
        show_default=True,
        metavar="N",
        help=f"Agents, 1 to {limits.SLOTS_MAX:,}.",
    ),
    click.option(
        "--duration",
        type=_SECONDS,
        default=10.0,
        show_default=True,
        metavar="SECONDS",
        help="Virtual time in which tasks end and are recorded.",
    ),
    click.option(
        "--rate",
        type=_number(1e6),
        default=50.0,
        show_default=True,
        metavar="TASKS",
        help="Tasks per virtual second, over all nodes.",
    ),
    click.option(
        "--latency",
        type=_Text(_latency),
        default="ethernet",
        show_default=True,
        metavar="DELAY",
        help="One-way delay of a message: infiniband (2 µs), ethernet (250 µs), a number of µs, uniform:LOW:HIGH, "
        "exponential:LEAST:MEAN or lognormal:MEDIAN:SIGMA.",
    ),
    click.option(
        "--difficulty",
        type=_Text(presets.difficulty),
        default="1",
        show_default=True,
        metavar="0..6|adaptive",
        help="Leading zero hex digits of the puzzle; adaptive: follows scale and load.",
    ),
    click.option(
        "--mining",
        type=click.Choice(["own", "race"]),
        default="own",
        show_default=True,
        help="Who searches for a block's puzzle: its proposer, or everybody.",
    ),
    click.option(
        "--quorum",
        type=click.Choice(["majority", "byzantine"]),
        default="majority",
        show_default=True,
        help="How many slots must agree.",
    ),
    click.option(
        "--storage-weight",
        type=_Text(_weight),
        default="decisive",
        show_default=True,
        metavar="decisive|VOTES",
        help="What the storage node's verdict is worth where no quorum agrees; decisive: it suffices alone.",
    ),
    click.option(
        "--tail-links",
        type=click.IntRange(1, limits.INTEGER_MAX),
        default=limits.SYNC_LINKS_MAX,
        metavar="N",
        show_default=True,
        help="Newest links that each node holds.",
    ),
    click.option(
        "--faults",
        type=_Text(presets.kinds),
        default="none",
        show_default=True,
        metavar="LIST",
        help=f"What breaks; when and where follows from the seed. none, all (but rollback), or some of "
        f"{', '.join(Kind)}, with commas.",
    ),
    click.option(
        "--liars",
        type=click.IntRange(0, limits.SLOTS_MAX),
        default=0,
        show_default=True,
        metavar="N",
        help="Slots that lie; which, and how, follows from the seed.",
    ),
    click.option("--seed", type=int, default=1, show_default=True, metavar="S", help="Of all randomness."),
    click.option(
        "--seeds",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        metavar="COUNT",
        help="How many runs, with seeds S, S + 1, …",
    ),
    click.option(
        "--check/--no-check",
        default=True,
        show_default=True,
        help="Check every promise after every event. Large worlds are faster without.",
    ),
    click.option("--real-signatures", is_flag=True, help="Ed25519 and searched puzzles instead of cheap stand-ins."),
    click.option(
        "--json",
        "json_file",
        type=_Text(_writable),
        metavar="FILE|-",
        help="Write everything as JSON; - prints it instead of the table.",
    ),
    click.option(
        "--plot",
        "plot_file",
        type=_Text(_writable),
        metavar="FILE.svg",
        help="Draw the distribution of the latencies.",
    ),
    click.option(
        "--drain",
        type=_SECONDS,
        default=120.0,
        show_default=True,
        metavar="SECONDS",
        help="Virtual time after that in which everything may come to rest.",
    ),
    click.option(
        "--probe",
        type=_SECONDS,
        metavar="SECONDS",
        help="When every node records one task more, which a quorum must certify. Default: halfway through the drain "
        "if there are faults, else never.",
    ),
    click.option(
        "--fault",
        "named",
        type=_Text(presets.fault),
        multiple=True,
        metavar="KIND:AT:UNTIL[:WHERE[:AMOUNT]]",
        help="This fault, such as crash:1:2.5:3 (slot 3) or loss:1:2::0.1. Storage is 0.",
    ),
    click.option(
        "--lie",
        "lies",
        type=_Text(presets.lie),
        multiple=True,
        metavar="SLOT:LIE",
        help=f"This slot tells this lie: {', '.join(LIES)}.",
    ),
)


def sim_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """All of them, in the order in which `--help` lists them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
