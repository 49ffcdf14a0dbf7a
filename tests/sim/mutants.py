"""Deliberately broken variants of the core and its drivers, each with a scenario in which it shows.

Each is made by a subclass or by patching one function. Where `also` is empty, only the checker of `tag` can catch it;
else it names the tags of those that catch it as well when that checker is disabled. `world`: patches that make the
scenario, with the mutant in it or without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from scichain_wf import limits
from scichain_wf.consensus import storage as storage_module
from scichain_wf.consensus import validity
from scichain_wf.consensus.agent import Agent
from scichain_wf.consensus.certify import VoteChecker
from scichain_wf.consensus.effects import Settled
from scichain_wf.consensus.events import AgentEvent
from scichain_wf.consensus.proposer import Proposal, State
from scichain_wf.consensus.roster import Roster
from scichain_wf.consensus.validator import _Votes
from scichain_wf.consensus.validity import Judgement
from scichain_wf.crypto.merkle import leaf_hash
from scichain_wf.model import canonical
from scichain_wf.model.epoch import Epoch
from scichain_wf.model.link import Annotation, Mark
from scichain_wf.model.verdict import Entry
from scichain_wf.sim import control
from scichain_wf.sim.agents import AgentProcess
from scichain_wf.sim.config import SimConfig
from scichain_wf.sim.disk import Disk
from scichain_wf.sim.faults import Fault, Kind
from scichain_wf.sim.ledgers import ChainView, Index, NodeView
from scichain_wf.sim.scenario import QUICK, Outcome, Scenario, run
from scichain_wf.sim.storages import StorageProcess

Patch = Callable[[], Any]


@dataclass(frozen=True)
class Mutant:
    """What is broken, which promise that breaks, and where it shows."""

    name: str
    tag: str
    scenario: Scenario
    patches: tuple[Patch, ...] = ()
    agent_type: type[AgentProcess] = AgentProcess
    storage_type: type[StorageProcess] = StorageProcess
    also: frozenset[str] = frozenset()
    world: tuple[Patch, ...] = ()

    def run(self, without: Iterable[str] = ()) -> Outcome:
        """The scenario with the mutant in it."""
        with ExitStack() as stack:
            for make in (*self.world, *self.patches):
                stack.enter_context(make())
            return run(self.scenario, frozenset(without), self.agent_type, self.storage_type)

    def control(self) -> Outcome:
        """The same with the real thing."""
        with ExitStack() as stack:
            for make in self.world:
                stack.enter_context(make())
            return run(self.scenario)


def quiet(nodes: int = 4, probe_s: float | None = 5.0, **config: Any) -> Scenario:
    """A small world without faults."""
    usual: dict[str, Any] = {"seed": 7, "duration_s": 1.0, "drain_s": 12.0, "rate": 12.0, "checkpoint_s": 0.5}
    return Scenario(SimConfig(nodes=nodes, timing=QUICK, **usual | config), probe_s=probe_s)


def patched(target: object, name: str, value: object) -> Patch:
    """Replace one attribute."""
    return lambda: patch.object(target, name, value)


# --- SAFE-1: one chain --------------------------------------------------------------------------------
class StaleHead(StorageProcess):
    """The links of one group commit all follow the link that was durable before it."""

    def append(self, view: ChainView, *rest: Any) -> Any:
        link = super().append(view, *rest)
        if len(view.added) > 1:
            _, block, certificate = view.added.pop()
            link = replace(link, previous=view.added[0][0].previous)
            view.added.append((link, block, certificate))
        return link


# --- SAFE-3: durable, then said -----------------------------------------------------------------------
class SaysBeforeSync(StorageProcess):
    """A commit is announced while the disk still works on it."""

    def commit(self, candidates: Any) -> None:
        view = self.world.disk.begin()
        outcomes = tuple(self.decided(view, candidate) for candidate in candidates)
        self.sync(view, lambda: None)
        self._committed(outcomes)


class AnswersFromMemory(StorageProcess):
    """Whether a transaction is committed is answered from the transaction that is still being written."""

    writing: ChainView | None = None

    def sync(self, view: ChainView, done: Callable[[], object], judging_s: float = 0.0) -> None:
        self.writing = view
        super().sync(view, done, judging_s)

    def receive(self, frm: int, message: Any) -> None:
        view = self.writing if isinstance(message, control.Query) else None
        with patch.object(self.world.disk, "begin", lambda: view) if view is not None else nullcontext():
            super().receive(frm, message)


# --- SAFE-4: certificates -----------------------------------------------------------------------------
_quorum_slots = Epoch.quorum_slots
_roster_init = Roster.__init__


def one_less(self: Epoch) -> int:
    return _quorum_slots(self) - 1


def of_live_keys(self: Roster, *args: Any, **more: Any) -> None:
    _roster_init(self, *args, **more)
    self.quorum = len(self.keys) // 2 + 1


def leaf_without_reasons(self: Entry) -> bytes:
    return leaf_hash(canonical.dumps(self.value() | {"reasons": None}))


# --- SAFE-5, SAFE-6: the second judgement ---------------------------------------------------------------
NO_JUDGE = SimpleNamespace(judge=lambda _block, _chain: Judgement())


class TrustsCertificates(storage_module.Storage):
    """What a quorum called VALID is appended as it is."""

    def decide(self, candidate: Any, chain: Any) -> Any:
        if candidate.certificate is None:
            return super().decide(candidate, chain)
        with patch.object(storage_module, "validity", NO_JUDGE):
            return super().decide(candidate, chain)


class Trusting(StorageProcess):
    core_type = TrustsCertificates


class StaleSnapshot(StorageProcess):
    """Each block of a group commit is judged on what was durable before the group."""

    def decided(self, view: ChainView, candidate: Any) -> Any:
        decide, durable = self.core.decide, self.world.disk.begin()
        with patch.object(self.core, "decide", lambda one, _view: decide(one, durable)):
            return super().decided(view, candidate)


_take = Index.take


def forgets_contested(self: Index, link: Any, block: Any) -> None:
    """A contested transaction does not count as committed, so it may come again in another block."""
    _take(self, link, block)
    for annotation in link.annotations:
        if annotation.mark is Mark.CONTESTED:
            self._ids.pop(bytes.fromhex(block.parsed[annotation.index]["key"]), None)


# --- SAFE-7, SAFE-8: the disk ---------------------------------------------------------------------------
class IgnoresHeads(storage_module.Storage):
    """A rolled-back storage is allowed to append."""

    def _presented(self, _event: Any) -> Any:
        return []


class RolledBack(StorageProcess):
    core_type = IgnoresHeads


# --- LIVE -------------------------------------------------------------------------------------------------
_review = Proposal.review


def never_unparked(self: Proposal, *args: Any) -> Any:
    return () if self.state is State.PARKED else _review(self, *args)


def says_nothing(self: Agent, _now: float) -> None:
    self._tick_at = None


def no_filter(_self: NodeView, _height: int) -> bool:
    """What was produced before this node's tail stays unknown to it, down to the genesis."""
    return False


# --- CONV-1 -----------------------------------------------------------------------------------------------
class ForgetsHolders(StorageProcess):
    """One of those that have the block already is not told that it is linked."""

    def announce(self, message: Any, holders: Iterable[int]) -> None:
        known = sorted(slot for slot in holders if self.members.get(slot) == message.link.height)
        for slot in known[:1]:
            self.members[slot] += 1
        super().announce(message, holders)


class SkipsALink(StorageProcess):
    """Who asks for missing links gets all but the first."""

    def replay(self, slot: int, start: int) -> None:
        super().replay(slot, start + 1)


# --- SAFE-2 -----------------------------------------------------------------------------------------------
def allows_what_is_remembered(votes: _Votes, sequence: int, block: bytes) -> bool:
    return sequence >= votes._floor and votes._blocks.get(sequence, block) == block


# --- HONEST-1 ---------------------------------------------------------------------------------------------
def contests_changed_sources() -> Any:
    """A source that is read with another content than before is contested."""
    seen: dict[str, str] = {}

    def judge(block: Any, chain: Any) -> Judgement:
        found = validity.judge(block, chain)
        changed = [
            Annotation(index, Mark.CONTESTED, (item["uri"],))
            for index, value in enumerate(block.parsed)
            for item in value["body"].get("inputs", [])
            if item.get("origin") == "source" and seen.setdefault(item["uri"], item["digest"]) != item["digest"]
        ]
        return Judgement(tuple(sorted({*found.annotations, *changed})), found.unknown)

    return patch.object(storage_module, "validity", SimpleNamespace(judge=judge))


class SameKey(AgentProcess):
    """A restarted process goes on with the key of the one before it, whose votes and numbers it does not know."""

    def boot(self) -> None:
        self._boots = 0
        super().boot()


# --- LOSS-1 -----------------------------------------------------------------------------------------------
class SettlesEarly(Agent):
    """What has its quorum counts as committed."""

    def step(self, event: AgentEvent, now: float) -> Any:
        done = super().step(event, now)
        certified = [p for p in self._author.blocks.values() if p.state is State.CERTIFIED]
        return (*done, *(Settled(tuple(item.id for item in p.items)) for p in certified))


class Early(AgentProcess):
    core_type = SettlesEarly


def crash(at: float, until: float, endpoint: int = 0) -> Fault:
    return Fault(Kind.CRASH if endpoint else Kind.STORAGE, at, until, (endpoint,))


def slow(at: float, until: float, seconds: float) -> Fault:
    return Fault(Kind.SLOW_DISK, at, until, (0,), seconds)


FORGERS = replace(quiet(3), lies=((1, "forge"), (2, "forge"), (3, "forge")))
BUSY = quiet(again=0.5, rate=40.0, sync_s=0.2)
TAMPERED = quiet(tampered=0.5, rate=40.0, sync_s=0.2)
FEW_LINKS = patched(limits, "SYNC_LINKS_MAX", 4)
MUTANTS = (
    Mutant(
        "links of a group follow a stale head",
        "SAFE-1",
        quiet(rate=0, sync_s=0.05, probe_s=1.0),
        storage_type=StaleHead,
    ),
    Mutant(
        "VALID twice for one sequence number",
        "SAFE-2",
        replace(quiet(), lies=((4, "equivocate"),)),
        (patched(_Votes, "allows", lambda *_: True),),
    ),
    Mutant(
        "what was VALID is INVALID when it is forgotten",
        "SAFE-2",
        replace(quiet(), lies=((4, "forget"),)),
        (patched(_Votes, "forgot", lambda *_: False), patched(_Votes, "allows", allows_what_is_remembered)),
    ),
    Mutant("a commit is announced before it is synced", "SAFE-3", quiet(), storage_type=SaysBeforeSync),
    Mutant(
        "a query is answered from what is not synced",
        "SAFE-3",
        # Only what asks for storage's own verdict can be in the group after the link by which slot 1 joins again.
        replace(
            quiet(4, again=0.9, rate=30.0, sync_s=0.2, duration_s=2.0, seed=3),
            faults=(crash(0.5, 0.9, 1),),
            lies=((2, "withhold"),),
        ),
        storage_type=AnswersFromMemory,
    ),
    Mutant("a quorum of one less", "SAFE-4", quiet(), (patched(Epoch, "quorum_slots", one_less),)),
    Mutant(
        "a quorum of the keys that are bound",
        "SAFE-4",
        replace(quiet(5), faults=(crash(0.0, 3.0, 4), crash(0.0, 3.0, 5), crash(0.0, 3.0, 3))),
        (patched(Roster, "__init__", of_live_keys),),
    ),
    Mutant(
        "votes are not verified",
        "SAFE-4",
        replace(quiet(quorum="byzantine"), lies=((3, "withhold"), (4, "push"))),
        (patched(VoteChecker, "bad_votes", lambda *_: ()),),
    ),
    Mutant(
        "the reasons of a verdict are not signed", "SAFE-4", TAMPERED, (patched(Entry, "leaf", leaf_without_reasons),)
    ),
    Mutant("storage judges nothing", "SAFE-5", FORGERS, (patched(storage_module, "validity", NO_JUDGE),)),
    Mutant("the append trusts the certificate", "SAFE-5", FORGERS, storage_type=Trusting),
    Mutant("the append trusts what a quorum said", "SAFE-6", BUSY, storage_type=Trusting),
    Mutant("a group is judged on a stale snapshot", "SAFE-6", BUSY, storage_type=StaleSnapshot),
    Mutant(
        "a contested transaction may come again",
        "SAFE-6",
        quiet(tampered=0.5, again=0.4, rate=30.0),
        (patched(Index, "take", forgets_contested),),
    ),
    Mutant("storage knows no duplicates", "SAFE-6", BUSY, (patched(ChainView, "contains", lambda *_: False),)),
    Mutant(
        "a rolled-back storage may append",
        "SAFE-7",
        replace(quiet(), faults=(Fault(Kind.ROLLBACK, 0.4, 0.8, (0,)), crash(0.75, 1.5, 1))),
        storage_type=RolledBack,
    ),
    Mutant(
        "a dead writer still writes",
        "SAFE-8",
        replace(quiet(), faults=(slow(0.3, 0.9, 0.5), crash(0.6, 2.0))),
        (patched(Disk, "crash", lambda _self: None),),
    ),
    Mutant(
        "a parked block is forgotten",
        "LIVE-1",
        replace(quiet(), faults=(crash(0.5, 0.6), crash(0.7, 0.8))),
        (patched(Proposal, "review", never_unparked),),
    ),
    Mutant("validators say nothing", "LIVE-2", quiet(), (patched(Agent, "_send_verdicts", says_nothing),)),
    Mutant(
        "the filter does not reach down to the genesis",
        "LIVE-2",
        replace(quiet(), faults=tuple(crash(2.0, 2.1, slot) for slot in (1, 2, 3, 4))),
        (patched(NodeView, "adopt", no_filter),),
        world=(FEW_LINKS,),
    ),
    Mutant("who has the block is not told of its link", "CONV-1", quiet(), storage_type=ForgetsHolders),
    Mutant(
        "sync skips a link",
        "LIVE-1",
        replace(quiet(), faults=(crash(0.5, 0.6, 1),)),
        storage_type=SkipsALink,
        also=frozenset({"CONV-1", "LIVE-2"}),
    ),
    Mutant("a changed source is contested", "HONEST-1", quiet(edited=0.5, sources=0.9), (contests_changed_sources,)),
    Mutant(
        "a restarted node keeps its key",
        "HONEST-1",
        replace(quiet(), faults=(crash(0.8, 0.9, 1),)),
        agent_type=SameKey,
        also=frozenset({"SAFE-2", "LIVE-1", "CONV-1", "LIVE-2"}),
    ),
    Mutant(
        "an agent settles what is not committed",
        "LOSS-1",
        replace(quiet(), faults=(slow(0.3, 0.9, 0.5), crash(0.6, 0.7, 1))),
        agent_type=Early,
        also=frozenset({"LIVE-1"}),
    ),
)
