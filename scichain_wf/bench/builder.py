"""Chains made in memory from seeds, for benchmarks and tests: real keys, real signatures, no processes.

`ChainBuilder` plays every part of a run (authority, storage node, N validators) with keys derived from a seed, and
hands out blocks with their certificates, so that a test of the store or of the audit needs no running system.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from scichain_wf.consensus import membership
from scichain_wf.crypto import merkle, puzzle
from scichain_wf.crypto.hashing import Domain, sha256
from scichain_wf.crypto.signing import SigningKey
from scichain_wf.model import difficulty
from scichain_wf.model.block import Block
from scichain_wf.model.bodies import Kind
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.certificate import PoetCertificate, QuorumCertificate, Solution
from scichain_wf.model.epoch import Epoch, Settings
from scichain_wf.model.link import Annotation, Link, Mode, annotations_digest
from scichain_wf.model.text import ZERO_DIGEST, digest_text
from scichain_wf.model.transaction import RunId, Transaction, TransactionKey, make_key
from scichain_wf.model.uri import work_uri
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, VerdictBatch, Vote

START_US = 1_750_000_000_000_000
ROOT_ID = "00112233445566aa"


def signing_key(seed: int, label: str) -> SigningKey:
    """A key that depends on seed and label only."""
    return SigningKey.from_seed(sha256(f"test key {seed} {label}".encode()))


@dataclass
class Candidate:
    """What a storage node would append: a block with its certificate, or an epoch block without one."""

    block: Block
    mode: Mode
    certificate: bytes | None
    epoch: int
    annotations: tuple[Annotation, ...] = ()


@dataclass
class ChainBuilder:
    """Plays a whole run. Feed every link that was appended back through `linked`."""

    slots: int = 3
    seed: int = 1
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.now_us = START_US
        self.authority = signing_key(self.seed, "authority")
        self.storage = signing_key(self.seed, "storage")
        self.nodes = {slot: signing_key(self.seed, f"node {slot}") for slot in range(1, self.slots + 1)}
        self.sequences = dict.fromkeys(self.nodes, 0)
        self.storage_sequence = 0
        self.batch = 0
        self.chain = ZERO_DIGEST
        self.head, self.height = ZERO_DIGEST, -1
        self.link_times_us: list[int] = []
        self.run = RunId(self.key())
        self.genesis = membership.genesis(
            self.authority, self.storage.public, self.slots, self.settings, "node-0", self.tick(), self.key()
        )
        self.epoch = Epoch.from_body(Transaction.decode(self.genesis.transactions[0]).body)

    # --- time, keys -------------------------------------------------------------------------------
    def tick(self, step_us: int = 1_000) -> int:
        """A later time."""
        self.now_us += step_us
        return self.now_us

    def key(self) -> TransactionKey:
        """The next transaction key: ordered by time."""
        return make_key(self.tick(1_000) // 1_000, self.random.randbytes(10))

    # --- records ----------------------------------------------------------------------------------
    def transaction(self, kind: Kind, body: JsonObject, run: RunId | None = None) -> Transaction:
        """A transaction of this chain."""
        return Transaction(self.chain, self.key(), kind, self.run if run is None else run, "node-1", self.tick(1), body)

    def artifact(self, name: str, content: bytes | None = None, role: str = "file") -> JsonObject:
        """An artifact entry inside the builder's root; `content` None is an artifact without a digest."""
        entry: JsonObject = {"uri": work_uri(ROOT_ID, name.encode()), "role": role, "state": "unhashed"}
        if content is not None:
            entry |= {"state": "file", "digest": digest_text(sha256(content)), "size_bytes": len(content)}
        return entry

    def task(
        self,
        name: str,
        inputs: Sequence[JsonObject] = (),
        outputs: Sequence[JsonObject] = (),
        **more: object,
    ) -> Transaction:
        """A `task` transaction."""
        body: JsonObject = {
            "engine": {"name": "test", "version": "1"},
            "name": name.partition(" ")[0],
            "task": name,
            "attempt": 1,
            "inputs": list(inputs),
            "outputs": list(outputs),
            "node": "node-1",
            "user": "tester",
            "started_us": self.tick(1),
            "ended_us": self.tick(1),
            "status": "ok",
            "exit_status": 0,
        }
        body |= more  # type: ignore[arg-type]
        return self.transaction(Kind.TASK, body)

    def run_start(self, path: str = "/data/project", from_chain: str | None = None) -> Transaction:
        """A `run-start` with the builder's root."""
        root: JsonObject = {"id": ROOT_ID, "host": "node-1", "path": path}
        if from_chain is not None:
            root["from_chain"] = from_chain
        body: JsonObject = {
            "engine": {"name": "test", "version": "1"},
            "roots": [root],
            "user": "tester",
            "started_us": self.tick(1),
        }
        return self.transaction(Kind.RUN_START, body)

    def run_end(self, tasks: int, intents: int = 0) -> Transaction:
        """A `run-end` with its counts."""
        counts: JsonObject = {"task": tasks, "intent": intents}
        return self.transaction(Kind.RUN_END, {"status": "ok", "ended_us": self.tick(1), "counts": counts})

    # --- blocks -----------------------------------------------------------------------------------
    def linked(self, link: Link) -> None:
        """Tell the builder what was appended."""
        self.head, self.height = link.hash, link.height
        self.link_times_us.append(link.time_us)
        if link.height == 0:
            self.chain = link.hash

    def join_all(self) -> tuple[Candidate, Candidate]:
        """The authority restates the list, then every node joins: two epoch candidates, to append in order."""
        restated = membership.restated(self.epoch, self.authority, self.chain, self.slots)
        joins = []
        for slot, key in self.nodes.items():
            token_key = signing_key(self.seed, f"token {slot} {restated.generation}")
            token = membership.issue_token(self.authority, self.chain, restated.generation, slot, token_key)
            joins.append(membership.bind(token, self.chain, key.public, f"node-{slot}"))
        joined = membership.joined(restated, self.chain, tuple(joins))
        first, second = self.epoch_candidate(restated), self.epoch_candidate(joined)
        return first, second

    def epoch_candidate(self, epoch: Epoch) -> Candidate:
        """A block with one `epoch` transaction, signed by the storage node; the epoch counts as current at once."""
        transaction = membership.epoch_transaction(epoch, self.chain, "node-0", self.tick(1), self.key())
        self.storage_sequence += 1
        block = membership.seal(
            self.storage,
            self.chain,
            self.epoch.epoch,
            self.storage_sequence,
            self.head,
            self.height,
            (transaction.encode(),),
            self.tick(1),
            0,
            "storage",
        )
        self.epoch = epoch
        return Candidate(block, Mode.EPOCH, None, epoch.epoch)

    def block(self, slot: int, transactions: Iterable[Transaction | bytes]) -> Block:
        """A block made by `slot`."""
        data = tuple(t if isinstance(t, bytes) else t.encode() for t in transactions)
        self.sequences[slot] += 1
        return membership.seal(
            self.nodes[slot],
            self.chain,
            self.epoch.epoch,
            self.sequences[slot],
            self.head,
            self.height,
            data,
            self.tick(1),
            self.difficulty(),
        )

    def difficulty(self) -> int:
        """What the next block's header has to say."""
        rule, mining = self.settings.difficulty, self.settings.mining
        return difficulty.expected(rule, mining, self.slots, self.height, self.link_times_us.__getitem__)

    def solution(self, block: Block) -> Solution | None:
        """The proposer's own solution of the puzzle."""
        if block.header.difficulty == 0:
            return None
        nonce = puzzle.solve(block.id, block.header.proposer, block.header.difficulty)
        return None if nonce is None else Solution(block.header.proposer, nonce)

    def vote(self, slot: int, block: Block, verdict: Verdict = Verdict.VALID, reasons: bytes | None = None) -> Vote:
        """One validator's signed verdict, alone in its batch."""
        entry = Entry(block.id, verdict, reasons)
        self.batch += 1
        root = merkle.root([entry.leaf()])
        header = BatchHeader(self.chain, self.epoch.epoch, slot, self.batch, self.head, self.height, 1, root)
        signature = self.nodes[slot].sign(Domain.VERDICT_BATCH, header.encode())
        return VerdictBatch(header, signature, (entry,)).vote(0)

    def quorum(self, block: Block, slots: Iterable[int] | None = None) -> Candidate:
        """`block` with VALID votes of `slots` (default: just a quorum)."""
        voters = sorted(slots) if slots is not None else list(range(1, self.epoch.quorum_slots() + 1))
        votes = tuple(self.vote(slot, block) for slot in voters)
        certificate = QuorumCertificate(block.id, self.epoch.epoch, self.solution(block), votes)
        return Candidate(block, Mode.QUORUM, certificate.encode(), self.epoch.epoch)

    def poet(
        self,
        block: Block,
        annotations: tuple[Annotation, ...] = (),
        reason: str = "deadline",
        votes: tuple[Vote, ...] = (),
        writer: int = 1,
    ) -> Candidate:
        """`block` under the storage node's own signature."""
        unsigned = PoetCertificate(
            block.id,
            self.epoch.epoch,
            self.solution(block),
            votes,
            writer,
            reason,
            annotations_digest(annotations),
            bytes(64),
        )
        signature = self.storage.sign(Domain.STORAGE, unsigned.statement())
        certificate = PoetCertificate(
            unsigned.block,
            unsigned.epoch,
            unsigned.solution,
            votes,
            writer,
            reason,
            unsigned.annotations,
            signature,
        )
        return Candidate(block, Mode.POET, certificate.encode(), self.epoch.epoch, annotations)
