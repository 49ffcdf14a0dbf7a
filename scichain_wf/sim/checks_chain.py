"""Checkers of the chain as it becomes durable: SAFE-1, SAFE-3 to SAFE-6, SAFE-8, HONEST-1 (30-post, Invariants)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from scichain_wf.consensus import messages
from scichain_wf.sim import control, observe
from scichain_wf.sim.checking import Book, Checker, Handler
from scichain_wf.sim.reading import (
    Fact,
    Json,
    bad_vote,
    dumped,
    is_quorum,
    key_bytes,
    tagged_digest,
)

if TYPE_CHECKING:
    from scichain_wf.sim.checking import Premises


class OneLinkPerHeight(Checker):
    """SAFE-1: one link per height, each after the one before it; the tree only grows."""

    tag: ClassVar[str] = "SAFE-1"

    def handlers(self) -> dict[type, Handler]:
        return {observe.LinkDurable: self._durable}

    def _durable(self, _what: observe.LinkDurable, _now: float) -> None:
        entry, size = cast("Fact", self._book.newest), len(self._book.facts)
        if entry.height != size:
            self.fail(f"a link of height {entry.height} became durable when the chain had {size} links")
        before = self._book.facts[-1].hash if size else bytes(32)
        if entry.link["previous"] != "sha256:" + before.hex():
            self.fail(f"link {entry.height} does not follow the one before it")


class DurableBeforeSent(Checker):
    """SAFE-3: storage says "committed", of a link or of a transaction, only when it is durable."""

    tag: ClassVar[str] = "SAFE-3"

    def __init__(self, premises: Premises, book: Book) -> None:
        super().__init__(premises, book)
        self._ids: set[bytes] = set()

    def handlers(self) -> dict[type, Handler]:
        return {
            observe.Sent: self._sent,
            Fact: lambda entry, _now: self._ids.update(record.id for record in entry.records),
            Book: lambda _book, _now: self._ids.clear(),
        }

    def _sent(self, what: observe.Sent, _now: float) -> None:
        if what.frm != 0:
            return
        if isinstance(what.message, messages.Committed):
            link, links = what.message.link, self._book.links
            if link.height >= len(links) or links[link.height] != link:
                self.fail(f"link {link.height} was sent to slot {what.to} before it was durable")
        elif isinstance(what.message, control.Known):
            for identity, yes in what.message.committed:
                if yes and identity not in self._ids:
                    self.fail(f"slot {what.to} was told of a transaction that it is committed, before it was durable")


class Certified(Checker):
    """SAFE-4: a `quorum` link has enough slots' verdicts of the epoch in force; a `poet` link storage's signature."""

    tag: ClassVar[str] = "SAFE-4"

    def handlers(self) -> dict[type, Handler]:
        return {Fact: self._linked}

    def _linked(self, entry: Fact, _now: float) -> None:
        if entry.mode == "epoch":
            return
        height, epoch, certificate = entry.height, self._book.epoch, entry.certificate
        if certificate is None or entry.certificate_bytes is None:
            self.fail(f"link {height} has no certificate")
        if tagged_digest("certificate", entry.certificate_bytes) != entry.link["certificate"]:
            self.fail(f"link {height} names another certificate")
        if certificate["type"] != entry.mode or certificate["block"] != entry.link["block"]:
            self.fail(f"the certificate of link {height} is of another mode or block")
        if tagged_digest("block", dumped(entry.header)) != entry.link["block"]:
            self.fail(f"link {height} is of another block than the stored one")
        if entry.link["epoch"] != epoch["epoch"] or certificate["epoch"] != epoch["epoch"]:
            self.fail(f"link {height} is not of the epoch in force, {epoch['epoch']}")
        bound = [tagged_digest("key", key_bytes(m["key"])) for m in epoch["members"] if "key" in m]
        if entry.header["proposer"] not in bound:
            self.fail(f"the proposer of link {height} is not a member of the epoch in force")
        valid = self._valid_slots(entry, certificate, epoch)
        rules, slots = epoch["settings"], epoch["slots"]
        if entry.mode == "quorum":
            if not is_quorum(valid, slots, rules["quorum"]):
                self.fail(f"link {height} has mode quorum and {valid} VALID of {slots} slots")
            return
        weight = rules["storage_weight"]
        if weight and not is_quorum(valid + weight, slots, rules["quorum"]):
            self.fail(f"link {height}: storage decided with {valid} VALID and weight {weight} of {slots} slots")
        self._check_storage(entry, certificate, epoch)

    def _valid_slots(self, entry: Fact, certificate: Json, epoch: Json) -> int:
        seen: set[int] = set()
        for vote in certificate["votes"]:
            slot = vote["header"]["slot"]
            why = bad_vote(vote, certificate["block"], self._book.chain, epoch, self._premises.verify)
            if why is not None or slot in seen:
                self.fail(f"link {entry.height}: {why or f'slot {slot} is counted twice'}")
            if entry.mode == "quorum" and vote["verdict"] != "VALID":
                self.fail(f"link {entry.height}: the vote of slot {slot} is not VALID")
            if vote["verdict"] == "VALID":
                seen.add(slot)
        return len(seen)

    def _check_storage(self, entry: Fact, certificate: Json, epoch: Json) -> None:
        if tagged_digest("annotations", dumped(entry.link["annotations"])) != certificate["annotations"]:
            self.fail(f"link {entry.height} has other annotations than storage signed")
        statement = dumped({name: value for name, value in certificate.items() if name != "signature"})
        signature = bytes.fromhex(certificate["signature"])
        if not self._premises.verify(key_bytes(epoch["storage"]["key"]), "storage-certificate", signature, statement):
            self.fail(f"link {entry.height}: storage did not sign its certificate")


class Traceable(Checker):
    """SAFE-5: every input of a linked, uncontested task is a source or a recorded version. A dumb dictionary."""

    tag: ClassVar[str] = "SAFE-5"

    def __init__(self, premises: Premises, book: Book) -> None:
        super().__init__(premises, book)
        self._versions: dict[str, set[str | None]] = {}

    def handlers(self) -> dict[type, Handler]:
        return {Fact: self._linked, Book: lambda _book, _now: self._versions.clear()}

    def _linked(self, entry: Fact, _now: float) -> None:
        for index, record in entry.counting():
            marks = entry.marks.get(index, frozenset())
            for uri, digest, origin, unresolved in record.inputs:
                if digest is None or unresolved or "contested" in marks:
                    continue
                versions = self._versions.get(uri)
                where = f"link {entry.height}, transaction {index}: {uri}"
                if versions is not None and digest not in versions and None not in versions:
                    self.fail(f"{where} has a digest that no recorded version has")
                if versions is None and origin.startswith("task:") and "unresolved" not in marks:
                    self.fail(f"{where}: its producer is not recorded, and nothing says so")
            for uri, digest in record.outputs:
                self._versions.setdefault(uri, set()).add(digest)


class CommittedOnce(Checker):
    """SAFE-6: a transaction id is committed at most once; another copy is marked."""

    tag: ClassVar[str] = "SAFE-6"

    def __init__(self, premises: Premises, book: Book) -> None:
        super().__init__(premises, book)
        self._ids: dict[bytes, int] = {}

    def handlers(self) -> dict[type, Handler]:
        return {Fact: self._linked, Book: lambda _book, _now: self._ids.clear()}

    def _linked(self, entry: Fact, _now: float) -> None:
        for index, record in entry.counting():
            before = self._ids.setdefault(record.id, entry.height)
            if before != entry.height or record.id in {r.id for r in entry.records[:index]}:
                self.fail(f"transaction {index} of link {entry.height} was committed in link {before} before")


class OneWriter(Checker):
    """SAFE-8: only the storage process that runs now makes links durable, and writers' numbers do not go back."""

    tag: ClassVar[str] = "SAFE-8"

    def __init__(self, premises: Premises, book: Book) -> None:
        super().__init__(premises, book)
        self._process = 0
        self._runs = True
        self._writer = 0

    def handlers(self) -> dict[type, Handler]:
        return {
            observe.LinkDurable: self._durable,
            observe.Crashed: self._crashed,
            observe.Restarted: self._restarted,
        }

    def _crashed(self, what: observe.Crashed, _now: float) -> None:
        if what.endpoint == 0:
            self._runs = False

    def _restarted(self, what: observe.Restarted, _now: float) -> None:
        if what.endpoint == 0:
            self._runs = True
            self._process += 1

    def _durable(self, what: observe.LinkDurable, _now: float) -> None:
        height = what.link.height
        if not self._runs or what.process != self._process:
            self.fail(f"link {height} was written by storage process {what.process}, which does not run any more")
        if what.link.writer < self._writer:
            self.fail(f"link {height} is of writer {what.link.writer}, after one of writer {self._writer}")
        self._writer = what.link.writer


class NothingContested(Checker):
    """HONEST-1: all nodes honest and files unedited → nothing is contested, and nobody holds evidence."""

    tag: ClassVar[str] = "HONEST-1"

    def handlers(self) -> dict[type, Handler]:
        return {Fact: self._linked} if self._premises.honest else {}

    def _linked(self, entry: Fact, _now: float) -> None:
        if any(record.kind == "evidence" for record in entry.records):
            self.fail(f"link {entry.height} holds evidence against an honest node")
        for index, marks in entry.marks.items():
            if marks & {"contested", "key-clash"}:
                reasons = [a.get("reasons") for a in entry.link["annotations"] if a["index"] == index]
                self.fail(f"transaction {index} of link {entry.height} is {', '.join(sorted(marks))}: {reasons}")
