"""The options of `scichain-wf sim`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from scichain_wf import limits
from scichain_wf.cli.files import writable
from scichain_wf.errors import ConfigError
from scichain_wf.sim import limits as bounds
from scichain_wf.sim import presets
from scichain_wf.sim.faults import Kind
from scichain_wf.sim.latency import Latency
from scichain_wf.sim.lies import LIES
from scichain_wf.sim.numbers import number, whole


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
    try:
        return whole(text, 1, limits.SLOTS_MAX)
    except ConfigError as error:
        raise ConfigError(f"{error}, nor decisive") from None


def _latency(text: str) -> str:
    Latency.parse(text)
    return text


def _json_file(text: str) -> Path:
    return Path(text) if text == "-" else writable(text)


def _plot_file(text: str) -> Path:
    if text == "-":
        raise ConfigError("'-': a drawing is not printed; name a file, such as latency.svg")
    return writable(text)


def _whole(low: int, high: int) -> _Text:
    return _Text(lambda text: whole(text, low, high))


_SECONDS: Final = _Text(lambda text: number(text, 0, bounds.SIM_SECONDS_MAX))
_RATE: Final = _Text(lambda text: number(text, 0, bounds.SIM_RATE_MAX))
FORMS_HELP: Final = "\n".join(
    (
        "\b",
        "Faults (SLOT: 1 to --nodes; ENDPOINT: a slot, or 0 for storage; several with commas):",
        *(f"  {form:<37}{means}" for form, means in presets.fault_forms()),
    )
)


_OPTIONS: Final = (
    click.option(
        "--nodes",
        type=_whole(1, limits.SLOTS_MAX),
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
        help="Virtual time of the load: in it tasks end and are recorded.",
    ),
    click.option(
        "--rate",
        type=_RATE,
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
        help="One-way delay of a message: infiniband (2 µs), ethernet (250 µs), a number of µs, or drawn for each: "
        "uniform:LOW:HIGH, exponential:LEAST:EXTRA (EXTRA µs more on average) or lognormal:MEDIAN:SIGMA.",
    ),
    click.option(
        "--difficulty",
        type=_Text(presets.difficulty),
        default="1",
        show_default=True,
        metavar="0..6|adaptive",
        help="Leading zero hex digits of the puzzle that a block needs; adaptive: follows scale and load.",
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
        help="How many slots (one for each node) must agree to a block: more than half, or so many that fewer than a "
        "third may lie.",
    ),
    click.option(
        "--storage-weight",
        type=_Text(_weight),
        default="decisive",
        show_default=True,
        metavar="decisive|VOTES",
        help="How many votes the storage node's own verdict is worth where no quorum agrees; decisive: it suffices "
        "alone.",
    ),
    click.option(
        "--tail-links",
        type=_whole(1, limits.INTEGER_MAX),
        default=limits.SYNC_LINKS_MAX,
        metavar="N",
        show_default=True,
        help="Newest links of the chain that each node holds.",
    ),
    click.option(
        "--faults",
        type=_Text(presets.kinds),
        default="none",
        show_default=True,
        metavar="LIST",
        help=f"What breaks during the load; when and where follows from the seed. none, all (but rollback), or some of "
        f"{', '.join(Kind)}, with commas.",
    ),
    click.option(
        "--liars",
        type=_whole(0, limits.SLOTS_MAX),
        default=0,
        show_default=True,
        metavar="N",
        help="Slots that lie; which, and how, follows from the seed.",
    ),
    click.option(
        "--seed",
        type=_whole(-limits.INTEGER_MAX, limits.INTEGER_MAX),
        default=1,
        show_default=True,
        metavar="S",
        help="What all randomness follows from; any whole number.",
    ),
    click.option(
        "--seeds",
        type=_whole(1, bounds.SIM_SEEDS_MAX),
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
        type=_Text(_json_file),
        metavar="FILE|-",
        help="Write every number as JSON into this file; - prints it instead of the table.",
    ),
    click.option(
        "--plot",
        "plot_file",
        type=_Text(_plot_file),
        metavar="FILE.svg",
        help="Draw the distribution of the latencies into this file.",
    ),
    click.option(
        "--drain",
        type=_SECONDS,
        default=120.0,
        show_default=True,
        metavar="SECONDS",
        help="Virtual time after the load, in which everything may come to rest.",
    ),
    click.option(
        "--probe",
        type=_SECONDS,
        metavar="SECONDS",
        help="When every node records one task more, which a quorum must certify. Default: halfway between the last "
        "fault and the end if anything breaks, else never.",
    ),
    click.option(
        "--fault",
        "named",
        type=_Text(presets.fault),
        multiple=True,
        metavar="KIND:AT:UNTIL[:WHERE[:AMOUNT]]",
        help="This fault, from AT to UNTIL (virtual seconds), such as crash:1:2.5:3 (the node in slot 3) or "
        "loss:1:2::0.1 (a tenth of all messages). Can be given again; all forms are below.",
    ),
    click.option(
        "--lie",
        "lies",
        type=_Text(presets.lie),
        multiple=True,
        metavar="SLOT:LIE",
        help=f"This slot tells this lie; for more slots, give it again. {', '.join(LIES)}.",
    ),
)


def sim_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """All of them, in the order in which `--help` lists them."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
