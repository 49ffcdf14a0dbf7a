"""What a user may ask of a simulation, as text, and the command that asks for a scenario again."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Final

from scichain_wf import limits
from scichain_wf.errors import ConfigError
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.sim import faults as breaking
from scichain_wf.sim import limits as bounds
from scichain_wf.sim.config import SimConfig
from scichain_wf.sim.faults import Fault, Kind
from scichain_wf.sim.latency import Latency
from scichain_wf.sim.lies import LIES
from scichain_wf.sim.numbers import number, quoted, whole
from scichain_wf.sim.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

ADAPTIVE_SHARE_PERMILLE: Final = 100
"""`--difficulty adaptive`: a search takes at most a tenth of the time between two blocks of a node (decision 4)."""
_FAULTS_BEGIN_S: Final = 0.05
_WINDOW_S: Final = 5.0
"""A plan of one to six faults is made for each so many seconds."""
_KINDS: Final = ", ".join(Kind)


@dataclass(frozen=True, slots=True)
class _Form:
    """What a kind of fault takes after AT and UNTIL.

    Attributes:
        means: for a person.
        where: "" nothing, "0" storage, "SLOT", "ENDPOINT" a slot or 0, "FROM,TO" or "ENDPOINTS" of these.
        amount: what the amount is; "" for none.
        low, high: its bounds.
    """

    means: str
    where: str
    amount: str = ""
    low: float = 0.0
    high: float = 0.0


_FORMS: Final = {
    Kind.CRASH: _Form("its process ends, and starts again", "SLOT"),
    Kind.STORAGE: _Form("the same of the storage node", "0"),
    Kind.BETWEEN: _Form("the same, in the middle of a step", "ENDPOINT", "EFFECTS", 1, bounds.SIM_EFFECTS_MAX),
    Kind.LOSE: _Form("the node is gone, and comes back empty", "SLOT"),
    Kind.PARTITION: _Form("they reach only each other", "ENDPOINTS"),
    Kind.CUT: _Form("nothing comes through this way", "FROM,TO"),
    Kind.LOSS: _Form("messages are lost", "", "PROBABILITY", 0.0, 1.0),
    Kind.DUPLICATE: _Form("messages come twice", "", "PROBABILITY", 0.0, 1.0),
    Kind.REORDER: _Form("messages overtake each other", "", "PROBABILITY", 0.0, 1.0),
    Kind.SLOW_DISK: _Form("each write takes so long", "0", "SECONDS", 0.0, bounds.SIM_SYNC_S_MAX),
    Kind.SKEW: _Form("its clock runs so fast", "SLOT", "FACTOR", bounds.SIM_SKEW_MIN, bounds.SIM_SKEW_MAX),
    Kind.PAUSE: _Form("its process stands still", "SLOT"),
    Kind.ROLLBACK: _Form("storage goes on from its disk of AT", "0"),
}


def fault_form(kind: Kind) -> str:
    """How a fault of this kind is written, such as `skew:AT:UNTIL:SLOT:FACTOR`."""
    form = _FORMS[kind]
    return f"{kind}:AT:UNTIL:{form.where}:{form.amount}".rstrip(":")


def fault_forms() -> list[tuple[str, str]]:
    """(form, what it does) of every kind."""
    return [(fault_form(kind), form.means) for kind, form in _FORMS.items()]


def difficulty(text: str) -> int | Difficulty:
    """From `0` … `6` or `adaptive`.

    Raises:
        ConfigError: it is neither.
    """
    if text == "adaptive":
        return Difficulty("adaptive", 1, ADAPTIVE_SHARE_PERMILLE, SimConfig().hashes_per_s)
    if text not in tuple("0123456"):
        raise ConfigError(f"{quoted(text)} is neither 0 to 6 nor adaptive")
    return int(text)


def kinds(text: str) -> tuple[Kind, ...]:
    """From `none`, `all` (but rollback, after which storage may only stop) or `crash,loss`.

    Raises:
        ConfigError: a name is none of these.
    """
    found: set[Kind] = set()
    for name in text.split(","):
        if name not in ("none", "all", *Kind):
            raise ConfigError(f"{quoted(name)} is not one of: none, all, {_KINDS}")
        found.update(breaking.ALWAYS if name == "all" else () if name == "none" else (Kind(name),))
    return tuple(kind for kind in Kind if kind in found)


def fault(text: str) -> Fault:
    """From `KIND:AT:UNTIL[:WHERE[:AMOUNT]]`, such as `crash:0.5:1.2:3` or `loss:1:2::0.1`; inverse of `fault_text`.

    Raises:
        ConfigError: it is not of that form.
    """
    name, *rest = text.split(":")
    if name not in tuple(Kind):
        raise ConfigError(f"{quoted(text)} is not KIND:AT:UNTIL[:WHERE[:AMOUNT]] with KIND one of {_KINDS}")
    kind, form = Kind(name), _FORMS[Kind(name)]
    if not 2 <= len(rest) <= 4:
        raise ConfigError(f"{quoted(text)} is not of the form {fault_form(kind)}")
    at, until, where, amount = (*rest, "", "")[:4]
    try:
        begin = number(at, 0, bounds.SIM_SECONDS_MAX)
        end = number(until, begin, bounds.SIM_SECONDS_MAX)
        endpoints = tuple(whole(one, 0, limits.SLOTS_MAX) for one in where.split(",")) if where else ()
        if not form.amount:
            found = number(amount or "0", 0, 0)
        elif form.amount == "EFFECTS":
            found = float(whole(amount.removesuffix(".0"), int(form.low), int(form.high)))
        else:
            found = number(amount, form.low, form.high)
    except ConfigError as error:
        raise ConfigError(f"{quoted(text)}: {error} (the form is {fault_form(kind)})") from None
    return Fault(kind, begin, end, endpoints or ((0,) if form.where == "0" else ()), found)


def fault_text(one: Fault) -> str:
    """A fault as `fault` reads it."""
    return f"{one.kind}:{one.at!r}:{one.until!r}:{','.join(map(str, one.endpoints))}:{one.amount!r}"


def lie(text: str) -> tuple[int, str]:
    """From `SLOT:LIE`, such as `3:equivocate`.

    Raises:
        ConfigError: it is not of that form.
    """
    slot, _, name = text.partition(":")
    if name not in LIES:
        raise ConfigError(f"{quoted(text)} is not SLOT:LIE with LIE one of {', '.join(LIES)}")
    try:
        return whole(slot, 1, limits.SLOTS_MAX), name
    except ConfigError as error:
        raise ConfigError(f"{quoted(text)} is not SLOT:LIE: {error}") from None


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
        probe_s: when every node submits once more; by default halfway between the end of load and faults and the end
            of the run if anything breaks, else never.

    Raises:
        ConfigError: something does not fit the world; says what, and what does.
    """
    named, told = tuple(faults), tuple(lies)
    lying = dict(told)
    end_s = config.duration_s + config.drain_s
    if config.rate * config.duration_s > bounds.SIM_TASKS_MAX:
        raise ConfigError(
            f"--rate, --duration: {config.rate * config.duration_s:,.0f} tasks are too many; "
            f"at most {bounds.SIM_TASKS_MAX:,} fit into memory"
        )
    for one in named:
        _check(one, config.nodes)
    if len(lying) < len(told):
        raise ConfigError("--lie: a slot tells one lie; name each slot once")
    if not all(slot <= config.nodes for slot in lying):
        raise ConfigError(f"--lie: there are slots 1 to {config.nodes} (see --nodes)")
    if len(lying) + liars > config.nodes:
        raise ConfigError(f"--liars: {len(lying) + liars} with those of --lie, but there are {config.nodes} nodes")
    if probe_s is not None and probe_s > end_s:
        raise ConfigError(
            f"--probe {probe_s:g}: the run ends at {end_s:g} s; choose an earlier one, or a longer --drain"
        )
    random = Random(f"faults {config.seed}")
    drawn: list[Fault] = []
    begin = _FAULTS_BEGIN_S
    while wanted and begin < config.duration_s:
        end = min(begin + _WINDOW_S, config.duration_s)
        drawn += breaking.plan(random, wanted, config.nodes, begin, end)
        begin = end
    rollbacks = sorted((one.at, one.until) for one in (*named, *drawn) if one.kind is Kind.ROLLBACK)
    if any(at < until for (_, until), (at, _) in pairwise(rollbacks)):
        raise ConfigError("--fault rollback: one begins before another has ended; an image can be put back only once")
    others = [slot for slot in range(1, config.nodes + 1) if slot not in lying]
    lying |= {slot: random.choice(tuple(LIES)) for slot in random.sample(others, liars)}
    if probe_s is None and (named or drawn):
        probe_s = (_whole_from_s(config, (*named, *drawn)) + end_s) / 2
    return Scenario(config, (*named, *drawn), tuple(sorted(lying.items())), probe_s=probe_s)


def _whole_from_s(config: SimConfig, faults: Iterable[Fault]) -> float:
    """When load and faults are over."""
    return max(config.duration_s, *(one.until for one in faults), 0.0)


def decidable(one: Scenario) -> None:
    """Refuse a run in which a promise may seem to break, because nobody could keep it in that time.

    Raises:
        ConfigError: says what is too long or too short, and what is enough.
    """
    config, settle_s = one.config, bounds.SIM_SETTLE_S
    end_s, whole_s = config.duration_s + config.drain_s, _whole_from_s(config, one.faults)
    drain_s = whole_s - config.duration_s + 2 * settle_s
    if whole_s > end_s:
        raise ConfigError(
            f"--fault: one ends at {whole_s:g} s, after the run ({end_s:g} s), and until then nothing can be promised; "
            f"--drain {drain_s:g} is enough, or --no-check"
        )
    if one.probe_s is None:
        return
    if one.probe_s < whole_s + settle_s:
        raise ConfigError(
            f"--probe, --drain: a quorum must certify what nodes record at {one.probe_s:g} s, but load and faults end "
            f"at {whole_s:g} s only, and settling takes up to {settle_s:g} s; --probe {whole_s + settle_s:g} "
            f"--drain {drain_s:g} is enough, or --no-check"
        )
    wait_s, long_s = config.timing.deadline_s, Latency.parse(config.latency).long_s
    if bounds.SIM_HOPS * long_s > wait_s:
        raise ConfigError(
            f"--latency {config.latency}: a message may take {long_s * 1e6:,.0f} µs; after faults a quorum must answer "
            f"within {wait_s:g} s: at most {wait_s / bounds.SIM_HOPS * 1e6:,.0f} µs are enough, or --no-check"
        )


def _check(one: Fault, nodes: int) -> None:
    """That a fault has the place that its kind needs; the plans of `faults` always have."""
    ends, where = one.endpoints, _FORMS[one.kind].where
    allowed = {"": 0, "0": 1, "SLOT": 1, "ENDPOINT": 1, "FROM,TO": 2}.get(where, len(ends) or 1)
    least, most = (1 if where == "SLOT" else 0), (0 if where == "0" else nodes)
    if len(ends) != allowed or len(set(ends)) != allowed or not all(least <= end <= most for end in ends):
        raise ConfigError(
            f"--fault {fault_text(one)}: WHERE does not fit {fault_form(one.kind)}; "
            f"slots are 1 to {nodes}, 0 is storage"
        )


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
