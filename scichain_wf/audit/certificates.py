"""Certificates: why a block was appended, checked against the epoch in force at the append (SAFE-4)."""

from __future__ import annotations

from typing import Protocol

from scichain_wf.audit.epochs import InForce, Signatures
from scichain_wf.crypto import puzzle
from scichain_wf.crypto.hashing import Domain
from scichain_wf.errors import DecodeError, UnsupportedVersion, VerificationError
from scichain_wf.ledger.problem import Problem, Problems
from scichain_wf.ledger.rawread import RawLedger
from scichain_wf.ledger.stored import StoredBlock, Survey, Walked
from scichain_wf.model import certificate as certificates
from scichain_wf.model.block import Header
from scichain_wf.model.certificate import Certificate, PoetCertificate, QuorumCertificate, Solution
from scichain_wf.model.link import Link, annotations_digest
from scichain_wf.model.verdict import Verdict, Vote


class HeadReader(Protocol):
    """Says which link was at a height; None where that cannot be known."""

    def __call__(self, height: int) -> bytes | None: ...


def check_certificate(
    ledger: RawLedger, summary: Survey, block: StoredBlock, in_force: InForce, signatures: Signatures, found: Walked
) -> None:
    """Check the stored certificate of one block."""
    try:
        certificate = certificates.decode(block.certificate or b"")
    except UnsupportedVersion:
        raise
    except DecodeError as error:
        found.problems.add(
            Problem("certificate-form", f"certificate at height {block.height}", "", str(error), block.height)
        )
        return
    check = CertificateCheck(
        summary.chain, block.link, block.header, block.block_id, in_force, signatures, found.problems
    )
    check.run(certificate, lambda height: ledger.node(0, height))


class CertificateCheck:
    """The checks of one certificate; used for chains and for receipts."""

    def __init__(
        self,
        chain: bytes,
        link: Link,
        header: Header,
        block_id: bytes,
        in_force: InForce,
        signatures: Signatures,
        problems: Problems,
    ) -> None:
        self._chain, self._link, self._header, self._block_id = chain, link, header, block_id
        self._in_force, self._signatures, self._problems = in_force, signatures, problems

    def run(self, certificate: Certificate, head_at: HeadReader) -> None:
        """Report everything that does not hold.

        Args:
            certificate: of the block.
            head_at: link hash by height, for the heads that votes were given at.
        """
        link = self._link
        expected = f"{link.mode} for block {self._block_id.hex()} in epoch {link.epoch}"
        if (certificate.type, certificate.block, certificate.epoch) != (link.mode.value, self._block_id, link.epoch):
            self._problem(
                "certificate-mode",
                expected,
                f"{certificate.type} for block {certificate.block.hex()} in epoch {certificate.epoch}",
            )
            return
        self._solution(certificate.solution)
        if isinstance(certificate, QuorumCertificate):
            self._quorum(certificate, head_at)
        else:
            self._poet(certificate)

    def _quorum(self, certificate: QuorumCertificate, head_at: HeadReader) -> None:
        valid = 0
        for vote in certificate.votes:  # slots ascend and are distinct, all say VALID: the decoder holds that
            reason = self._vote_problem(vote)
            if reason:
                self._problem("vote", "", reason)
                continue
            valid += 1
            header = vote.header
            head = head_at(header.head_height)
            if header.head_height >= self._link.height or (head is not None and head != header.head):
                self._problem(
                    "vote-head",
                    "" if head is None else head.hex(),
                    f"slot {header.slot} at link {header.head_height}: {header.head.hex()}",
                )
        if valid < self._in_force.quorum:
            self._problem("quorum-short", f"{self._in_force.quorum} of {self._in_force.epoch.slots} slots", str(valid))

    def _poet(self, certificate: PoetCertificate) -> None:
        link, epoch = self._link, self._in_force.epoch
        if not self._signatures.hold(epoch.storage, Domain.STORAGE, certificate.signature, certificate.statement()):
            self._problem("poet-signature", f"a signature by {epoch.storage.raw.hex()}")
        if certificate.annotations != annotations_digest(link.annotations):
            self._problem("poet-annotations")
        if certificate.writer != link.writer:
            self._problem("poet-writer", str(link.writer), str(certificate.writer))
        valid = 0
        for vote in certificate.votes:
            reason = self._vote_problem(vote)
            if reason:
                self._problem("vote-cited", "", reason)
            elif vote.entry.verdict is Verdict.VALID:
                valid += 1
        weight = epoch.settings.storage_weight
        if weight and valid + weight < self._in_force.quorum:
            self._problem("quorum-short", f"{self._in_force.quorum}, storage counting {weight}", str(valid + weight))

    def _vote_problem(self, vote: Vote) -> str:
        header, slot = vote.header, vote.header.slot
        key = self._in_force.keys.get(slot)
        if key is None:
            return f"slot {slot} has no key in epoch {self._in_force.epoch.epoch}"
        if header.chain != self._chain or header.epoch != self._link.epoch:
            return f"slot {slot} voted on another chain or in epoch {header.epoch}"
        try:
            vote.verify_path()
        except VerificationError as error:
            return str(error)
        if not self._signatures.hold(key, Domain.VERDICT_BATCH, vote.signature, header.encode()):
            return f"slot {slot}'s signature does not hold"
        return ""

    def _solution(self, solution: Solution | None) -> None:
        difficulty = self._header.difficulty
        if difficulty == 0:
            return
        reason = "there is no solution" if solution is None else self._solver_problem(solution)
        if (
            not reason
            and solution is not None
            and not puzzle.solves(self._block_id, solution.solver, solution.nonce, difficulty)
        ):
            reason = f"nonce {solution.nonce} does not solve it"
        if reason:
            self._problem("puzzle", f"{difficulty} zero digits", reason)

    def _solver_problem(self, solution: Solution) -> str:
        if solution.solver == self._header.proposer:
            return ""
        slot = self._in_force.slots.get(solution.solver)
        if self._in_force.epoch.settings.mining != "race" or slot is None or solution.signature is None:
            return "it was solved by one who may not"
        statement = self._block_id + solution.nonce.to_bytes(8, "big")
        if not self._signatures.hold(self._in_force.keys[slot], Domain.PUZZLE, solution.signature, statement):
            return f"slot {slot}'s signature of its solution does not hold"
        return ""

    def _problem(self, code: str, expected: str = "", actual: str = "") -> None:
        height = self._link.height
        self._problems.add(Problem(code, f"certificate at height {height}", expected, actual, height))
