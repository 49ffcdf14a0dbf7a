"""What everybody in a simulated world stands on: time, keys, the chain, the network, and what is shared by all.

Processes (`agents`, `storages`) know this much of their world; `world` puts them into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scichain_wf.consensus import events, membership, messages
from scichain_wf.errors import DecodeError
from scichain_wf.ledger.prepared import PreparedBlock, prepared
from scichain_wf.model.block import Block
from scichain_wf.model.epoch import Epoch
from scichain_wf.model.link import Link, Mode
from scichain_wf.model.transaction import make_key
from scichain_wf.sim import observe
from scichain_wf.sim.disk import Disk, Image
from scichain_wf.sim.kernel import Kernel
from scichain_wf.sim.keys import SimKeys
from scichain_wf.sim.latency import Latency
from scichain_wf.sim.ledgers import Histories
from scichain_wf.sim.network import Network
from scichain_wf.sim.puzzles import Puzzles, SimRoster
from scichain_wf.sim.tally import Tally
from scichain_wf.sim.workload import START_US

if TYPE_CHECKING:
    from scichain_wf.consensus.events import AgentEvent
    from scichain_wf.consensus.roster import Roster
    from scichain_wf.consensus.storage import StorageEvent
    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.model.canonical import JsonObject
    from scichain_wf.model.facts import Facts
    from scichain_wf.sim.config import SimConfig


class Ground:
    """A world without its processes.

    Args:
        config: see `SimConfig`.
        observers: told of everything.

    Attributes:
        kernel, keys, histories, disk, puzzles, network: the parts.
        tally: what the result counts.
        liars: slots whose messages are held to the codec, since their sender may make anything.
        crash_between: asked before each effect of each step with (endpoint, index): True ends the process there.
        charges: whether computing takes time.
    """

    def __init__(self, config: SimConfig, observers: Iterable[observe.Observer]) -> None:
        self.config = config
        self.observers = list(observers)
        self.kernel = Kernel(config.seed)
        self.keys = SimKeys(real=config.real_signatures)
        self.histories = Histories()
        self.disk = Disk(self.kernel, self.histories, config.sync_s)
        self.puzzles = Puzzles(self.kernel.rng("puzzles"), real=config.real_signatures)
        self.network = Network(
            self.kernel,
            Latency.parse(config.latency),
            config.detect_s,
            config.reconnect_s,
            config.is_mesh,
            self._deliver,
            self._changed,
        )
        self.tally = Tally(self.kernel)
        self.liars: frozenset[int] = frozenset()
        self.crash_between: Callable[[int, int], bool] | None = None
        self.charges = config.cpu != type(config.cpu)()
        self._prepared: dict[int, tuple[Block, PreparedBlock]] = {}
        self._rosters: dict[int, tuple[JsonObject, SimRoster]] = {}
        self._last: tuple[int, object, AgentEvent | None] = (0, None, None)
        self._begin_chain()

    def _begin_chain(self) -> None:
        """The genesis is on storage's disk."""
        config, random = self.config, self.kernel.rng("epochs")
        self.authority_key, self.storage_key = self.keys.make("authority"), self.keys.make("storage")
        self.authority = self.authority_key.public
        block = membership.genesis(
            self.authority_key,
            self.storage_key.public,
            config.nodes,
            config.settings,
            "simulated",
            START_US,
            make_key(START_US // 1_000, random.randbytes(10)),
        )
        link = Link(0, bytes(32), block.id, None, Mode.EPOCH, 0, (), 0, START_US)
        self.chain_id = link.hash
        self.genesis_block, self.genesis_link = prepared(block), link
        self.genesis = self.read_epoch(self.genesis_block.parsed[0]["body"]).epoch  # type: ignore[arg-type]
        self.histories.all[0].add(link, self.genesis_block, None)
        self.disk.restore(Image(self.histories.all[0], 1))

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return self.kernel.now

    def tell(self, what: observe.Observation) -> None:
        """Tell the observers."""
        for observer in self.observers:
            observer.observe(self, what)

    # --- what all nodes share -----------------------------------------------------------------------
    def token(self, slot: int) -> membership.JoinToken:
        """What the launcher gave the node of this slot."""
        return membership.issue_token(self.authority_key, self.chain_id, 1, slot, self.keys.make(f"token {slot}"))

    def prepare(self, block: Block, facts: list[Facts] | None = None) -> PreparedBlock:
        """A block with its transactions parsed; each is parsed once, however many nodes see it.

        Raises:
            DecodeError: its bytes could not be read.
        """
        known = self._prepared.get(id(block))
        if known is None:
            known = self._prepared[id(block)] = block, prepared(block, facts)
        return known[1]

    def read_epoch(self, body: JsonObject) -> Roster:
        """The roster of an `epoch` body, which all nodes share; as `Roster.read`, with this world's keys.

        Raises:
            DecodeError, VerificationError: see `Roster.read`.
        """
        known = self._rosters.get(id(body))
        if known is None:
            epoch, key = Epoch.from_body(body), self.keys.verify_key
            members = tuple(
                replace(m, token=key(m.token), key=None if m.key is None else key(m.key)) for m in epoch.members
            )
            epoch = replace(epoch, authority=key(epoch.authority), storage=key(epoch.storage), members=members)
            epoch.verify(self.chain_id)
            known = self._rosters[id(body)] = body, SimRoster(epoch, self.chain_id, self.puzzles)
        return known[1]

    def event_of(self, frm: int, message: Any) -> AgentEvent | None:
        """What an agent's core is told of a message; None: it is malformed, or not for an agent."""
        last_from, last, event = self._last
        if last is message and last_from == frm:
            return event
        event = self._agent_event(frm, message)
        self._last = frm, message, event
        return event

    def _agent_event(self, frm: int, message: Any) -> AgentEvent | None:
        try:
            match message:
                case messages.Propose(block) if frm:
                    return events.ProposalReceived(frm, self.prepare(block))
                case messages.Verdicts(batch) if frm:
                    return events.VerdictsReceived(frm, batch)
                case messages.Puzzle() if frm:
                    return events.PuzzleReceived(frm, message)
                case messages.Found() if frm:
                    return events.SolutionReceived(frm, message)
                case messages.Committed(link, block) if not frm:
                    return events.CommittedReceived(link, None if block is None else self.prepare(block))
                case messages.Answer() if not frm:
                    return events.Answered(message)
        except DecodeError:
            pass
        self.tally.malformed += 1
        return None

    def storage_event_of(self, frm: int, message: Any) -> StorageEvent | None:
        """What storage's core is told of a message; None as above."""
        try:
            match message:
                case messages.Push(block, certificate):
                    return events.Pushed(frm, self.prepare(block), certificate)
                case messages.Extend(block, solution, votes, reason):
                    return events.Extended(frm, self.prepare(block), solution, votes, reason)
                case messages.Sync(following):
                    return events.SyncReceived(frm, following)
        except DecodeError:
            pass
        self.tally.malformed += 1
        return None

    def send(self, frm: int, to: Sequence[int], message: Any) -> None:
        """Hand a message to the network, for one or many."""
        if self.observers:
            for one in to:
                self.tell(observe.Sent(frm, one, message))
        self.network.send(frm, to, message)

    def durable(self, link: Link, block: ParsedBlock, certificate: bytes | None, process: int) -> None:
        """A link is on storage's disk."""
        self.tally.durable(link, block)
        if self.observers:
            self.tell(observe.LinkDurable(link, block, certificate, process))

    def settled(self, slot: int, ids: tuple[bytes, ...]) -> None:
        """A node's outbox let go of these."""
        self.tell(observe.SettledAt(slot, ids))

    # --- processes ----------------------------------------------------------------------------------
    def crash(self, endpoint: int) -> None:
        """A process ends; nothing happens where none runs."""
        raise NotImplementedError

    def restart(self, endpoint: int) -> None:
        """A process starts; nothing happens where one runs."""
        raise NotImplementedError

    def halt(self, slot: int, reason: str) -> None:
        """An agent's core stopped itself."""
        raise NotImplementedError

    def _deliver(self, frm: int, to: int, message: Any) -> None:
        raise NotImplementedError

    def _changed(self, endpoint: int, other: int, up: bool) -> None:
        raise NotImplementedError
