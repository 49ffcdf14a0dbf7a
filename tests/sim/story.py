"""A chain told to the checkers by hand, link by link."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from scichain_wf.crypto.hashing import Domain
from scichain_wf.crypto.signing import VerifyKey
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.certificate import certificate_digest
from scichain_wf.model.epoch import Epoch
from scichain_wf.model.link import Annotation, Link, Mode
from scichain_wf.model.text import ZERO_DIGEST
from scichain_wf.model.transaction import Transaction
from scichain_wf.sim import checkers, observe
from scichain_wf.sim.checking import Checkers, Premises
from scichain_wf.sim.violations import Violation
from tests.builders import START_US, Candidate, ChainBuilder


def verify(key: bytes, domain: str, signature: bytes, data: bytes) -> bool:
    """With real keys."""
    return VerifyKey.from_bytes(key).is_valid(Domain(domain), signature, data)


@dataclass
class Story:
    """A chain told to one checker (or all), link by link."""

    premises: Premises = field(default_factory=lambda: Premises(verify))
    only: str | None = None
    slots: int = 3
    now: float = 0.0
    process: int = 0

    def __post_init__(self) -> None:
        self.builder = ChainBuilder(slots=self.slots)
        without = [tag for tag in checkers.TAGS if self.only not in (None, tag)]
        self.checkers: Checkers = checkers.checkers(self.premises, without)
        self.links: list[Link] = []
        self.durable(Candidate(self.builder.genesis, Mode.EPOCH, None, 0))
        for candidate in self.builder.join_all():
            epoch = Epoch.from_body(Transaction.decode(candidate.block.transactions[0]).body)
            self.durable(candidate)
            self.builder.epoch = epoch

    def tell(self, *what: observe.Observation) -> None:
        for one in what:
            self.checkers.observe(self, one)

    def link(self, candidate: Candidate) -> Link:
        previous = self.links[-1].hash if self.links else ZERO_DIGEST
        digest = None if candidate.certificate is None else certificate_digest(candidate.certificate)
        return Link(
            len(self.links),
            previous,
            candidate.block.id,
            digest,
            candidate.mode,
            candidate.epoch,
            candidate.annotations,
            1,
            START_US + int(self.now * 1e6) + len(self.links),
        )

    def write(self, link: Link, candidate: Candidate) -> None:
        self.links.append(link)
        self.builder.linked(link)
        self.tell(observe.LinkDurable(link, prepared(candidate.block), candidate.certificate, self.process))

    def durable(self, candidate: Candidate) -> Link:
        link = self.link(candidate)
        self.write(link, candidate)
        return link

    def quorum(self, *transactions: Transaction | bytes, slot: int = 1) -> Link:
        return self.durable(self.builder.quorum(self.builder.block(slot, transactions)))

    def poet(self, *data: Transaction | bytes, marks: Iterable[Annotation] = (), reason: str = "deadline") -> Link:
        block = self.builder.block(1, data)
        return self.durable(self.builder.poet(block, tuple(marks), reason))

    def task(
        self, name: str, reads: Iterable[str] = (), writes: Iterable[str] = (), content: bytes = b"1"
    ) -> Transaction:
        """A task; every file it reads or writes holds `content`."""
        b = self.builder
        return b.task(name, [b.artifact(n, content) for n in reads], [b.artifact(n, content) for n in writes])


def broken(tag: str, match: str) -> pytest.RaisesExc[Violation]:
    """This checker fires."""
    return pytest.raises(Violation, match=f"^{tag}: .*{match}")
