"""A cluster in memory: real machines of the core, a queue for a network, a list for a disk. Nothing runs by itself.

`Cluster.run` delivers everything that is on its way and lets time pass only when nothing is. Tests take messages out
of the network, cut channels and look at what was committed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from scichain_wf.consensus import effects, events, membership, messages, storage
from scichain_wf.consensus.agent import Agent
from scichain_wf.consensus.roster import Roster
from scichain_wf.consensus.timing import Timing
from scichain_wf.consensus.validity import Known, versions
from scichain_wf.crypto import puzzle
from scichain_wf.crypto.merkle import leaf_hash
from scichain_wf.ledger.prepared import PreparedBlock, prepared
from scichain_wf.model import facts
from scichain_wf.model.certificate import certificate_digest
from scichain_wf.model.epoch import Epoch, Settings
from scichain_wf.model.link import Annotation, Link, Mark, Mode
from scichain_wf.model.transaction import Transaction
from tests.builders import ChainBuilder, signing_key


class MemoryLedger:
    """A chain, or a node's copy of it."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.blocks: dict[bytes, PreparedBlock] = {}
        self.versions: dict[str, list[bytes | None]] = {}
        self.ids: dict[bytes, set[bytes]] = {}
        self.proposals: dict[tuple[bytes, int], tuple[int, bytes]] = {}
        self.recorders: dict[str, bytes] = {}
        self.forgotten: set[str] = set()
        self.heights_forgotten = 0

    def apply(self, link: Link, block: PreparedBlock) -> None:
        self.links.append(link)
        self.blocks[link.block] = block
        header = block.block.header
        self.proposals[header.proposer, header.sequence] = link.height, link.block
        duplicates = {a.index for a in link.annotations if a.mark is Mark.DUPLICATE}
        for index, ((_, key, _, _, _, outputs), leaf) in enumerate(zip(block.facts, block.leaves, strict=True)):
            if index not in duplicates:
                self.ids.setdefault(key, set()).add(leaf)
                for uri, digest in versions(outputs):
                    self.versions.setdefault(uri, []).append(digest)
                    self.recorders.setdefault(uri, header.proposer)

    def lookup(self, uri: str, digest: bytes, /) -> Known:
        if uri in self.forgotten:
            return Known.UNKNOWN
        recorded = self.versions.get(uri)
        if recorded is None:
            return Known.NEW
        if digest in recorded:
            return Known.KNOWN
        return Known.UNHASHED if None in recorded else Known.OTHER

    def contains(self, key: bytes, transaction: bytes, /) -> bool:
        return transaction in self.ids.get(key, ())

    def clashes(self, key: bytes, transaction: bytes, /) -> bool:
        return bool(self.ids.get(key, set()) - {transaction})

    def link_hash(self, height: int, /) -> bytes | None:
        if self.heights_forgotten <= height < len(self.links):
            return self.links[height].hash
        return None

    def link(self, height: int, /) -> Link:
        return self.links[height]

    def link_time_us(self, height: int, /) -> int:
        return self.links[height].time_us

    def head_height(self) -> int:
        return self.links[-1].height

    def recorder(self, uri: str, /) -> bytes | None:
        return self.recorders.get(uri)

    def proposal(self, proposer: bytes, sequence: int, /) -> tuple[int, bytes] | None:
        return self.proposals.get((proposer, sequence))


@dataclass
class Node:
    """One agent with what its driver would keep."""

    agent: Agent
    ledger: MemoryLedger
    timer: float | None = None
    mining: list[effects.Mine] = field(default_factory=list)
    settled: list[bytes] = field(default_factory=list)
    given_up: list[bytes] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    halted: str = ""
    alive: bool = True


Delivery = tuple[int, int, object]
"""(from, to, message); 0 is storage."""


class Cluster:
    """`slots` agents and a storage node, joined and connected, over a chain that ChainBuilder began."""

    def __init__(self, slots: int = 3, settings: Settings | None = None, timing: Timing | None = None) -> None:
        self.builder = ChainBuilder(slots=slots, settings=settings or Settings())
        self.now = 100.0
        self.chain = MemoryLedger()
        self.network: deque[Delivery] = deque()
        self.lose: Callable[[Delivery], bool] = lambda _: False
        self.hold_commits = False
        self.hold_mining = False
        self.commits: deque[storage.Commit] = deque()
        self.certificates: dict[int, bytes | None] = {}
        genesis = self.builder.genesis
        self._append(prepared(genesis), Mode.EPOCH, None, 0)
        self.builder.linked(self.chain.links[0])
        self.storage = storage.Storage(self.builder.storage, self.builder.chain, 1)
        self.timing = timing = timing or Timing()
        self.nodes = {}
        for slot, key in self.builder.nodes.items():
            ledger = MemoryLedger()
            chain, authority = self.builder.chain, self.builder.authority.public
            self.nodes[slot] = Node(Agent(key, slot, chain, authority, ledger, timing, prepared), ledger)
            self.feed(slot, events.ClockSet(1_000_000))
            self.feed(slot, events.Welcomed(0, ()))
            self.feed(slot, events.StorageUp())
        self.announce(self.chain.links[0], prepared(genesis))
        for candidate in self.builder.join_all():
            self.append_epoch(candidate.block)
        for slot in self.nodes:
            for other in self.nodes:
                if other != slot:
                    self.feed(slot, events.PeerUp(other))
        self.run()

    def append_epoch(self, block: object) -> None:
        """Append an epoch block and put it in force."""
        whole = prepared(block)  # type: ignore[arg-type]
        epoch = Epoch.from_body(Transaction.decode(whole.block.transactions[0]).body)
        link = self._append(whole, Mode.EPOCH, None, epoch.epoch)
        self.builder.linked(link)
        self.builder.epoch = epoch
        self.tell_storage(events.EpochInForce(Roster(epoch, self.builder.chain)))
        self.announce(link, whole)

    def restart(self, slot: int) -> None:
        """The slot's node boots again with a fresh key; its peers see it come back."""
        key = signing_key(99, f"node {slot}")
        token_key = signing_key(1, f"token {slot} {self.builder.epoch.generation}")
        token = membership.issue_token(
            self.builder.authority, self.builder.chain, self.builder.epoch.generation, slot, token_key
        )
        join = membership.bind(token, self.builder.chain, key.public, f"node-{slot}")
        self.append_epoch(
            self.builder.epoch_candidate(membership.joined(self.builder.epoch, self.builder.chain, (join,))).block
        )

    # --- acting -------------------------------------------------------------------------------------
    def feed(self, slot: int, event: events.AgentEvent) -> None:
        """One event at an agent, with its effects."""
        node = self.nodes[slot]
        for effect in node.agent.step(event, self.now):
            match effect:
                case effects.SendPeer(to, message):
                    self._send((slot, to, message))
                case effects.SendStorage(message):
                    self._send((slot, 0, message))
                case effects.SetTimer(at):
                    node.timer = at
                case effects.Mine():
                    node.mining.append(effect)
                    if not self.hold_mining:
                        self.mine(slot)
                case effects.StopMining(asked, block):
                    node.mining = [mine for mine in node.mining if (mine.slot, mine.block) != (asked, block)]
                case effects.Halt(reason):
                    node.halted = reason
                case effects.Settled(ids):
                    node.settled += ids
                case effects.GivenUp(ids, _):
                    node.given_up += ids
                case effects.Note(text):
                    node.notes.append(text)

    def mine(self, slot: int) -> None:
        """The slot finds every nonce that it is searching."""
        node = self.nodes[slot]
        for mine in node.mining:
            nonce = puzzle.solve(mine.block, mine.solver, mine.difficulty)
            assert nonce is not None
            self._send((slot, slot, events.Solved(mine.slot, mine.block, nonce)))
        node.mining.clear()

    def submit(self, slot: int, *transactions: Transaction, source: str = "outbox") -> list[bytes]:
        """Hand transactions to an agent; returns their ids."""
        items = tuple(item(t, source) for t in transactions)
        self.feed(slot, events.Submitted(items))
        return [i.id for i in items]

    def run(self, seconds: float = 60.0) -> None:
        """Deliver everything; let time pass, at most so much, while anybody waits for it."""
        end = self.now + seconds
        while True:
            while self.network or (self.commits and not self.hold_commits):
                self.deliver()
            times = [(n.timer, slot) for slot, n in self.nodes.items() if n.alive and n.timer is not None]
            if not times or min(times)[0] > end:
                return
            at, slot = min(times)
            self.now = max(self.now, at)
            self.nodes[slot].timer = None
            self.feed(slot, events.Tick())

    def deliver(self) -> None:
        """The next message, or the next group commit."""
        if not self.network:
            self.commit()
            return
        sender, to, message = self.network.popleft()
        if to == 0:
            self._at_storage(sender, message)
        elif self.nodes[to].alive:
            self._at_agent(sender, to, message)

    def commit(self) -> None:
        """The oldest group commit becomes durable."""
        outcomes = []
        for candidate in self.commits.popleft().candidates:
            decision = self.storage.decide(candidate, self.chain)
            result: storage.Appended | storage.Already | messages.Answer
            if isinstance(decision, storage.Append):
                assert isinstance(candidate.block, PreparedBlock)
                link = self._append(
                    candidate.block, decision.mode, decision.certificate, decision.epoch, decision.annotations
                )
                result = storage.Appended(link, decision.against)
            else:
                result = decision
            outcomes.append(storage.Outcome(candidate, result))
        self.tell_storage(storage.Decided(tuple(outcomes)))

    def tell_storage(self, event: storage.StorageEvent) -> None:
        """One event at storage, with its effects."""
        for effect in self.storage.step(event, self.now):
            if isinstance(effect, storage.Commit):
                self.commits.append(effect)
            elif isinstance(effect, effects.Announce):
                message = effect.message
                assert message.block is not None
                self.announce(message.link, prepared(message.block))
            elif isinstance(effect, effects.Replay):
                for link in self.chain.links[effect.next :]:
                    self._send((0, effect.slot, events.CommittedReceived(link, self.chain.blocks[link.block])))
            elif isinstance(effect, effects.SendSlot):
                self._send((0, effect.slot, effect.message))

    def announce(self, link: Link, block: PreparedBlock) -> None:
        """A durable link to every agent."""
        for slot in self.nodes:
            self._send((0, slot, events.CommittedReceived(link, block)))

    def kill(self, *slots: int) -> None:
        """These agents' processes end; their peers see the channels close."""
        for slot in slots:
            self.nodes[slot].alive = False
        for slot, node in self.nodes.items():
            if node.alive:
                for dead in slots:
                    self.feed(slot, events.PeerDown(dead))

    # --- looking ------------------------------------------------------------------------------------
    def links(self) -> list[Link]:
        """Every link that is not an epoch."""
        return [link for link in self.chain.links if link.mode is not Mode.EPOCH]

    def modes(self) -> list[str]:
        """Their modes."""
        return [str(link.mode) for link in self.links()]

    def marks(self) -> list[Annotation]:
        """Every annotation on the chain."""
        return [annotation for link in self.chain.links for annotation in link.annotations]

    # --- inside -------------------------------------------------------------------------------------
    def _send(self, delivery: Delivery) -> None:
        if not self.lose(delivery):
            self.network.append(delivery)

    def _at_storage(self, slot: int, message: object) -> None:
        if isinstance(message, messages.Push):
            decoded = messages.decode(message.kind, message.encode())
            assert isinstance(decoded, messages.Push)
            self.tell_storage(events.Pushed(slot, prepared(decoded.block), decoded.certificate))
        elif isinstance(message, messages.Extend):
            extend = messages.decode(message.kind, message.encode())
            assert isinstance(extend, messages.Extend)
            block = prepared(extend.block)
            self.tell_storage(events.Extended(slot, block, extend.solution, extend.votes, extend.reason))
        elif isinstance(message, messages.Sync):
            self.tell_storage(events.SyncReceived(slot, message.next))

    def _at_agent(self, sender: int, to: int, message: object) -> None:
        if isinstance(message, messages.Propose):
            self.feed(to, events.ProposalReceived(sender, prepared(message.block)))
        elif isinstance(message, messages.Verdicts):
            self.feed(to, events.VerdictsReceived(sender, message.batch))
        elif isinstance(message, messages.Answer):
            self.feed(to, events.Answered(message))
        elif isinstance(message, messages.Puzzle):
            self.feed(to, events.PuzzleReceived(sender, message))
        elif isinstance(message, messages.Found):
            self.feed(to, events.SolutionReceived(sender, message))
        elif isinstance(message, events.CommittedReceived | events.Solved):
            self.feed(to, message)

    def _append(
        self,
        block: PreparedBlock,
        mode: Mode,
        certificate: bytes | None,
        epoch: int,
        annotations: tuple[Annotation, ...] = (),
    ) -> Link:
        previous = self.chain.links[-1].hash if self.chain.links else bytes(32)
        link = Link(
            len(self.chain.links),
            previous,
            block.block.id,
            None if certificate is None else certificate_digest(certificate),
            mode,
            epoch,
            annotations,
            1,
            self.builder.tick(),
        )
        self.chain.apply(link, block)
        self.certificates[link.height] = certificate
        return link


def item(record: Transaction, source: str = "outbox") -> events.Item:
    """A transaction as the core takes it."""
    data = record.encode()
    return events.Item(leaf_hash(data), data, facts.read(data), source)


def items(records: Iterable[Transaction]) -> list[events.Item]:
    """Several."""
    return [item(record) for record in records]
