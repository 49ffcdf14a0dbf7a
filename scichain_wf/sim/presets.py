"""What a user may ask of a simulation, as text, and the command that asks for a scenario again."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, Final

from scichain_wf.errors import ConfigError
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.sim import faults as breaking
from scichain_wf.sim.config import SimConfig
from scichain_wf.sim.faults import Fault, Kind
from scichain_wf.sim.lies import LIES
from scichain_wf.sim.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

ADAPTIVE_SHARE_PERMILLE: Final = 100
"""`--difficulty adaptive`: a search takes at most a tenth of the time between two blocks of a node (decision 4)."""
_FAULTS_BEGIN_S: Final = 0.05
_WINDOW_S: Final = 5.0
"""A plan of one to six faults is made for each so many seconds."""
_KINDS: Final = ", ".join(Kind)
_OF_SLOT: Final = (Kind.CRASH, Kind.BETWEEN, Kind.LOSE, Kind.SKEW, Kind.PAUSE)
_WITH_AMOUNT: Final = (Kind.BETWEEN, Kind.LOSS, Kind.DUPLICATE, Kind.REORDER, Kind.SLOW_DISK, Kind.SKEW)


def difficulty(text: str) -> int | Difficulty:
    """From `0` … `6` or `adaptive`.

    Raises:
        ConfigError: it is neither.
    """
    if text == "adaptive":
        return Difficulty("adaptive", 1, ADAPTIVE_SHARE_PERMILLE, SimConfig().hashes_per_s)
    if text not in tuple("0123456"):
        raise ConfigError(f"{text!r} is neither 0 to 6 nor adaptive")
    return int(text)


def kinds(text: str) -> tuple[Kind, ...]:
    """From `none`, `all` (but rollback, after which storage may only stop) or `crash,loss`.

    Raises:
        ConfigError: a name is none of these.
    """
    found: set[Kind] = set()
    for name in text.split(","):
        if name not in ("none", "all", *Kind):
            raise ConfigError(f"{name!r} is not one of: none, all, {_KINDS}")
        found.update(breaking.ALWAYS if name == "all" else () if name == "none" else (Kind(name),))
    return tuple(kind for kind in Kind if kind in found)


def fault(text: str) -> Fault:
    """From `KIND:AT:UNTIL[:WHERE[:AMOUNT]]`, such as `crash:0.5:1.2:3` or `loss:1:2::0.1`; inverse of `fault_text`.

    Raises:
        ConfigError: it is not of that form.
    """
    wrong = ConfigError(f"{text!r} is not KIND:AT:UNTIL[:WHERE[:AMOUNT]] with KIND one of {_KINDS}")
    name, *rest = text.split(":")
    if name not in tuple(Kind) or not 2 <= len(rest) <= 4:
        raise wrong
    at, until, endpoints, amount = (*rest, "", "")[:4]
    try:
        found = Fault(
            Kind(name), float(at), float(until), tuple(map(int, filter(None, endpoints.split(",")))), float(amount or 0)
        )
    except ValueError:
        raise wrong from None
    if not all(map(math.isfinite, (found.at, found.until, found.amount))) or not 0 <= found.at <= found.until:
        raise wrong
    return found


def fault_text(one: Fault) -> str:
    """A fault as `fault` reads it."""
    return f"{one.kind}:{one.at!r}:{one.until!r}:{','.join(map(str, one.endpoints))}:{one.amount!r}"


def lie(text: str) -> tuple[int, str]:
    """From `SLOT:LIE`, such as `3:equivocate`.

    Raises:
        ConfigError: it is not of that form.
    """
    slot, _, name = text.partition(":")
    if not (slot.isascii() and slot.isdigit() and name in LIES):
        raise ConfigError(f"{text!r} is not SLOT:LIE with LIE one of {', '.join(LIES)}")
    return int(slot), name


def scenario(
    config: SimConfig,
    wanted: Collection[Kind] = (),
    liars: int = 0,
    faults: Iterable[Fault] = (),
    lies: Iterable[tuple[int, str]] = (),
    probe_s: float | None = None,
) -> Scenario:
    """A world with what goes wrong in it: what is named, and more from the seed.

    Args:
        config: the world.
        wanted: kinds of faults to draw, over the whole time of the load.
        liars: how many slots lie, beside those of `lies`; which, and how, is drawn.
        faults: named ones.
        lies: named ones, as (slot, lie).
        probe_s: when every node submits once more; by default in the middle of the time after the load if anything
            breaks, else never.

    Raises:
        ConfigError: a fault or a lie does not fit the world; says which.
    """
    named, lying = tuple(faults), dict(lies)
    for one in named:
        _check(one, config.nodes)
    if not all(1 <= slot <= config.nodes for slot in lying) or len(lying) + liars > config.nodes:
        raise ConfigError(
            f"--liars, --lie: {len(lying) + liars} liars; allowed are slots 1 to {config.nodes}, each once"
        )
    random = Random(f"faults {config.seed}")
    drawn: list[Fault] = []
    begin = _FAULTS_BEGIN_S
    while wanted and begin < config.duration_s:
        end = min(begin + _WINDOW_S, config.duration_s)
        drawn += breaking.plan(random, wanted, config.nodes, begin, end)
        begin = end
    others = [slot for slot in range(1, config.nodes + 1) if slot not in lying]
    lying |= {slot: random.choice(tuple(LIES)) for slot in random.sample(others, liars)}
    if probe_s is None and (named or drawn):
        probe_s = config.duration_s + config.drain_s / 2
    return Scenario(config, (*named, *drawn), tuple(sorted(lying.items())), probe_s=probe_s)


def _check(one: Fault, nodes: int) -> None:
    """That a fault can be done; the plans of `faults` always can."""
    count, low = len(one.endpoints), 1 if one.kind in {Kind.CRASH, Kind.LOSE, Kind.SKEW, Kind.PAUSE} else 0
    fits = all(low <= endpoint <= nodes for endpoint in one.endpoints) and len(set(one.endpoints)) == count
    match one.kind:
        case kind if kind in _OF_SLOT:
            fits = fits and count == 1
        case Kind.STORAGE | Kind.ROLLBACK:
            fits = one.endpoints == (0,)
        case Kind.CUT:
            fits = fits and count == 2
        case Kind.PARTITION:
            fits = fits and count > 0
    if not fits:
        raise ConfigError(f"--fault {fault_text(one)}: WHERE does not fit; slots are 1 to {nodes}, 0 is storage")
    likely = one.amount <= 1 or one.kind not in {Kind.LOSS, Kind.DUPLICATE, Kind.REORDER}
    if one.kind in _WITH_AMOUNT and not (one.amount > 0 and likely):
        raise ConfigError(f"--fault {fault_text(one)}: AMOUNT must be above 0, and a probability not above 1")


def replay(one: Scenario) -> list[str]:
    """Arguments of `scichain-wf sim` that run exactly this scenario again. Twins have no option: they are left out."""
    config, usual = one.config, SimConfig()
    rule = config.difficulty
    arguments = []
    for option, value, default in (
        ("nodes", config.nodes, None),
        ("seed", config.seed, None),
        ("duration", config.duration_s, None),
        ("drain", config.drain_s, None),
        ("rate", config.rate, None),
        ("difficulty", rule.rule if isinstance(rule, Difficulty) else rule, None),
        ("mining", config.mining, usual.mining),
        ("quorum", config.quorum, usual.quorum),
        ("storage-weight", config.storage_weight or "decisive", "decisive"),
        ("latency", config.latency, usual.latency),
        ("tail-links", config.tail_links, usual.tail_links),
        ("probe", one.probe_s, None),
    ):
        if value != default:
            arguments.append(f"--{option}={value}")
    arguments += ["--real-signatures"] * config.real_signatures
    arguments += [f"--fault={fault_text(item)}" for item in one.faults]
    return arguments + [f"--lie={slot}:{name}" for slot, name in one.lies]
