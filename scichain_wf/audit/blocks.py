"""What must hold of one block beyond its structure: who made it, who certified it, and what it claims of files.

`visit` is called by `ledger.walk` for every block. The rules are those of the design's V2, V4, SAFE-4 and SAFE-5,
written from the records' definitions and not from the code that appends: the two must not share a mistake.
Wall-clock times are claims and are never judged.
"""

from __future__ import annotations

from typing import Final, cast

from scichain_wf.audit.certificates import check_certificate
from scichain_wf.audit.epochs import EpochBook, InForce, epoch_of
from scichain_wf.audit.forks import check_given_up
from scichain_wf.audit.manifests import check_manifests
from scichain_wf.audit.trace import check_traceability
from scichain_wf.crypto.hashing import Domain
from scichain_wf.crypto.signing import VerifyKey
from scichain_wf.errors import DecodeError, LedgerCorrupt, VerificationError
from scichain_wf.ledger import keys
from scichain_wf.ledger.problem import Problem
from scichain_wf.ledger.rawread import RawLedger
from scichain_wf.ledger.stored import StoredBlock, Survey, Walked
from scichain_wf.model import difficulty, transaction
from scichain_wf.model.link import Link, Mark, Mode
from scichain_wf.model.text import ZERO_DIGEST

_ANCHORS_KEPT: Final = 64


def visit(ledger: RawLedger, summary: Survey, block: StoredBlock, found: Walked) -> None:
    """Judge one block; a module-level function, so that it can be sent to a child process."""
    check = _BlockCheck(ledger, summary, block, found)
    check.count()
    check.place()
    check.writer()
    check_manifests(summary, block, found)
    if block.link.mode is Mode.EPOCH:
        check.epoch()
    else:
        check.made_by_a_member()
        check_traceability(ledger, block, found)
        check_given_up(ledger, summary, block, found)


class _BlockCheck:
    """The checks of one block, in the order they are made."""

    def __init__(self, ledger: RawLedger, summary: Survey, block: StoredBlock, found: Walked) -> None:
        self.ledger, self.summary, self.block, self.found = ledger, summary, block, found
        self.book = EpochBook.of(ledger, summary)
        self.where = f"block at height {block.height}"

    def problem(self, code: str, expected: str = "", actual: str = "", *, subject: str | None = None) -> None:
        self.found.problems.add(Problem(code, subject or self.where, expected, actual, self.block.height))

    def count(self) -> None:
        """What people want to know of the chain."""
        counts, block = self.found.counts, self.block
        if block.header.source == "spool":
            counts["transactions-spool"] += len(block.facts)
        for mark, name in (
            (Mark.CONTESTED, "contested"),
            (Mark.UNRESOLVED, "unresolved"),
            (Mark.DUPLICATE, "duplicates"),
            (Mark.KEY_CLASH, "key-clashes"),
        ):
            counts[name] += len(block.marks[mark])
        counts["tasks"] += sum(kind == b"task" for _, _, _, kind, _, _ in block.facts)

    def place(self) -> None:
        """This chain, a parent on it, an epoch that has begun."""
        header, height = self.block.header, self.block.height
        if header.chain != (self.summary.chain if height else ZERO_DIGEST):
            self.problem("block-chain", self.summary.chain.hex(), header.chain.hex())
        parent = self.ledger.node(0, header.parent_height) if header.parent_height >= 0 else ZERO_DIGEST
        if header.parent != parent or not header.parent_height < height or (height > 0) != (header.parent_height >= 0):
            self.problem("block-parent", f"link {header.parent_height}: {parent.hex()}", header.parent.hex())
        in_force = self.summary.epoch_at(height)
        if self.block.link.epoch != in_force:
            self.problem("epoch-in-force", str(in_force), str(self.block.link.epoch), subject=f"link {height}")
        if header.epoch > in_force:
            self.problem("block-epoch", f"at most {in_force}", str(header.epoch))

    def writer(self) -> None:
        """Writer epochs do not go backwards."""
        height, writer = self.block.height, self.block.link.writer
        last_height, last_writer = self.ledger.state.get("writer", (-1, 0))
        if last_height != height - 1:
            data = self.ledger.get(keys.LINKS, keys.height_key(height - 1)) if height else None
            try:
                last_writer = Link.decode(data).writer if data is not None else 0
            except DecodeError:
                last_writer = 0  # named where that link is walked
        if writer < last_writer:
            self.problem("writer-order", f"at least {last_writer}", str(writer), subject=f"link {height}")
        self.ledger.state["writer"] = height, writer

    def epoch(self) -> None:
        """An epoch link holds one epoch, signed by the storage node (the genesis: by the authority)."""
        block, number = self.block, self.block.link.epoch
        try:
            if len(block.transactions) != 1 or block.header.source != "storage" or block.header.difficulty != 0:
                raise DecodeError("an epoch block has one transaction, comes from storage and has no puzzle")
            epoch = epoch_of(transaction.parse(block.transactions[0]))
            if epoch.epoch != number:
                raise DecodeError(f"it states epoch {epoch.epoch}, its link says {number}")
        except DecodeError as error:
            self.problem("epoch-form", actual=str(error))
            return
        before = self.book.get(number - 1).epoch if number else None
        signers = [epoch.authority] if before is None else [epoch.storage, before.storage]
        self._signed(signers, "epoch-signature")
        authority = self.book.authority()
        if epoch.authority != authority:
            self.problem("epoch-authority", authority.raw.hex(), epoch.authority.raw.hex())
        if before is not None and epoch.generation < before.generation:
            self.problem("epoch-generation", f"at least {before.generation}", str(epoch.generation))
        try:
            self.book.verify(epoch, self.summary.chain)
        except VerificationError as error:
            self.problem("epoch-statement", actual=str(error))

    def made_by_a_member(self) -> None:
        """Signed by a key that the epoch in force binds to a slot, of its difficulty, certified as its mode says."""
        block = self.block
        try:
            in_force = self.book.at(block.height)
        except LedgerCorrupt as error:
            self.problem("epoch-form", actual=str(error))
            return
        if block.header.source == "storage" or any(kind == b"epoch" for _, _, _, kind, _, _ in block.facts):
            self.problem("block-source")
        slot = in_force.slots.get(block.header.proposer)
        if slot is None:
            self.problem("block-proposer", f"a member of epoch {in_force.epoch.epoch}", block.header.proposer.hex())
        else:
            self._signed([in_force.keys[slot]], "block-signature")
        self._difficulty(in_force)
        self._certified(in_force)

    def _difficulty(self, in_force: InForce) -> None:
        """What the epoch asks for on this parent; where its anchors cannot be read, the walk names them."""
        settings, slots, header = in_force.epoch.settings, in_force.epoch.slots, self.block.header
        if not 0 <= header.parent_height < self.block.height:
            return  # named by `place`
        rule = settings.difficulty
        try:
            wanted = difficulty.expected(rule, settings.mining, slots, header.parent_height, self._link_time_us)
            outdated = difficulty.is_outdated(rule, header.parent_height, self.block.height - 1, self._link_time_us)
        except DecodeError:
            return
        if outdated:
            self.problem("block-outdated", subject=f"link {self.block.height}")
        if header.difficulty != wanted:
            self.problem("block-difficulty", str(wanted), str(header.difficulty))

    def _link_time_us(self, height: int) -> int:
        times = cast("dict[int, int]", self.ledger.state.setdefault("anchor-times", {}))
        if height not in times:
            if len(times) >= _ANCHORS_KEPT:
                times.clear()
            times[height] = Link.decode(self.ledger.get(keys.LINKS, keys.height_key(height)) or b"").time_us
        return times[height]

    def _certified(self, in_force: InForce) -> None:
        if self.block.link.mode is Mode.QUORUM and self.block.marks[Mark.CONTESTED]:
            self.problem("mode-conflict", subject=f"link {self.block.height}")
        if self.block.certificate is not None:  # its absence is named by the walk
            check_certificate(self.ledger, self.summary, self.block, in_force, self.book.signatures, self.found)

    def _signed(self, keys_allowed: list[VerifyKey], code: str) -> None:
        header, signature, data = self.block.header, self.block.signature, self.block.header_bytes
        for key in keys_allowed:
            if key.fingerprint == header.proposer and self.book.signatures.hold(key, Domain.BLOCK, signature, data):
                return
        expected = " or ".join(key.fingerprint.hex() for key in keys_allowed)
        self.problem(code, f"a signature by {expected}", f"proposer {header.proposer.hex()}")
