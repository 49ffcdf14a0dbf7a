"""Proofs of single transactions: made from a chain, checked with the trust root alone (AUD-1).

The same check serves a receipt that came by mail and a file that is looked up on the chain: one way to prove.

What is checked, from the trust root downwards:

1. the genesis link's hash is the trust root; the genesis is signed by the authority that it names;
2. the checkpoint is signed by the storage key of the epoch in force at its end, which the authority delegated;
3. genesis, epochs, and the link in question are leaves of the tree that the checkpoint signs;
4. each block is the one its link names, each transaction a leaf of its block's tree, each block signed by its maker;
5. the certificate is the link's, and holds under the epoch that the link names.

Not checked, since it would take the chain: that the artifact was not made anew later, and that the block's parent and
the votes' heads are links of the chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from scichain_wf.audit.certificates import CertificateCheck
from scichain_wf.audit.epochs import EpochBook, InForce, Signatures
from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain
from scichain_wf.crypto.signing import VerifyKey
from scichain_wf.errors import DecodeError, LedgerCorrupt, VerificationError
from scichain_wf.ledger import keys
from scichain_wf.ledger.problem import Problem, Problems
from scichain_wf.ledger.rawread import RawLedger
from scichain_wf.ledger.stored import Survey
from scichain_wf.model import certificate as certificates
from scichain_wf.model.block import BlockFrame, Header, block_id
from scichain_wf.model.certificate import certificate_digest
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.epoch import Epoch
from scichain_wf.model.link import Link, Mark, Mode
from scichain_wf.model.receipt import ProvenTransaction, Receipt


def make_proof(ledger: RawLedger, summary: Survey, checkpoint: Checkpoint, height: int, index: int) -> Receipt:
    """The receipt of transaction (height, index) under `checkpoint`. O(log n) reads; nothing is verified.

    Raises:
        LedgerCorrupt: bytes that must be there are not.
        VerificationError: the checkpoint does not cover that height.
    """
    if not height < checkpoint.size <= summary.size:
        raise VerificationError(
            f"link {height} is not covered by the checkpoint of {checkpoint.size} links on a chain of {summary.size}"
        )
    book = EpochBook.of(ledger, summary)
    wanted = {0, summary.epoch_at(height), summary.epoch_at(checkpoint.size - 1)}
    for number in sorted(wanted - {0}):
        # A storage key's own epoch may be signed by the key before it.
        if book.get(number).epoch.storage != book.get(number - 1).epoch.storage:
            wanted.add(number - 1)
    heights = dict(summary.epochs)
    epochs = tuple(_proven(ledger, heights[number], 0, checkpoint.size) for number in sorted(wanted))
    return Receipt(summary.chain, checkpoint.text(), _proven(ledger, height, index, checkpoint.size), epochs)


def _proven(ledger: RawLedger, height: int, index: int, size: int) -> ProvenTransaction:
    key = keys.height_key(height)
    link, data, certificate = ledger.get(keys.LINKS, key), ledger.block(height), ledger.get(keys.CERTIFICATES, key)
    if link is None or data is None:
        raise LedgerCorrupt(f"height {height} has no {'link' if link is None else 'block'}")
    try:
        frame = BlockFrame.of(data)
        if index >= frame.count:
            raise LedgerCorrupt(f"the block at height {height} has no transaction {index}")
        leaves = merkle.leaf_hashes(frame.transactions())
        return ProvenTransaction(
            transaction=frame.transaction(index),
            index=index,
            path=tuple(merkle.inclusion_path(leaves, index)),
            header=Header.decode(frame.header),
            signature=bytes(frame.signature),
            certificate=None if certificate is None else certificates.decode(certificate),
            link=Link.decode(link),
            link_path=tuple(merkle.inclusion_path_from(ledger.node, height, size)),
        )
    except DecodeError as error:
        raise LedgerCorrupt(f"height {height} cannot be proved: {error}") from None


def check_proof(receipt: Receipt, pinned: bytes | None, signatures: Signatures, code: str = "receipt") -> Problems:
    """Everything that does not hold of a receipt; see this module's description.

    Args:
        receipt: decoded.
        pinned: trust root; None takes the receipt's own chain id, which proves little.
        signatures: remembers what was verified.
        code: of the problems.
    """
    check = _ProofCheck(receipt, signatures, code)
    if pinned is not None and receipt.chain != pinned:
        check.problems.add(Problem("trust-root", "the receipt", pinned.hex(), receipt.chain.hex()))
        return check.problems
    try:
        check.run()
    except (VerificationError, DecodeError) as error:
        check.problem(str(error))
    return check.problems


class _ProofCheck:
    def __init__(self, receipt: Receipt, signatures: Signatures, code: str) -> None:
        self.receipt, self.signatures, self.code = receipt, signatures, code
        self.problems = Problems()
        self.checkpoint = Checkpoint.parse(receipt.checkpoint)
        self.epochs: dict[int, tuple[Epoch, ProvenTransaction]] = {}

    def problem(self, actual: str, height: int | None = None) -> None:
        self.problems.add(Problem(self.code, f"proof on chain {self.receipt.chain.hex()}", "", actual, height))

    def run(self) -> None:
        receipt, checkpoint = self.receipt, self.checkpoint
        if checkpoint.chain != receipt.chain:
            raise VerificationError("the checkpoint is of another chain")
        genesis = receipt.epochs[0]
        if genesis.link.height != 0 or genesis.link.hash != receipt.chain:
            raise VerificationError("its genesis is not the one the chain id names")
        authority = self._load_epochs()
        last = max(item.link.height for _, item in self.epochs.values())
        signer = self._epoch_before(checkpoint.size)
        if last >= checkpoint.size or signer is None:
            raise VerificationError("it names an epoch that its checkpoint does not cover")
        checkpoint.verify_storage(signer.storage)
        # An epoch that only shows whose key signed the next one need not show who signed it: it is under the
        # checkpoint, and its delegation is the authority's own.
        needed = {0, receipt.proof.link.epoch, signer.epoch}
        for epoch, item in self.epochs.values():
            self._placed(item)
            self._epoch(epoch, item, authority, signed=epoch.epoch in needed)
        if receipt.proof.link.mode is not Mode.EPOCH:
            self._placed(receipt.proof)
            self._member_block(receipt.proof)
        elif not any(item == receipt.proof for _, item in self.epochs.values()):
            raise VerificationError("it proves an epoch that is not among its epochs")

    def _load_epochs(self) -> VerifyKey:
        for item in self.receipt.epochs:
            epoch = Epoch.from_body(item.parsed().body)
            if item.link.mode is not Mode.EPOCH or epoch.epoch != item.link.epoch or epoch.epoch in self.epochs:
                raise VerificationError(f"the link at height {item.link.height} does not hold one epoch")
            self.epochs[epoch.epoch] = epoch, item
        if 0 not in self.epochs:
            raise VerificationError("it has no genesis")
        heights = [self.epochs[number][1].link.height for number in sorted(self.epochs)]
        if heights != sorted(set(heights)):
            raise VerificationError("its epochs do not follow each other")
        return self.epochs[0][0].authority

    def _epoch_before(self, size: int) -> Epoch | None:
        known = [(item.link.height, epoch) for epoch, item in self.epochs.values() if item.link.height < size]
        return max(known, key=lambda pair: pair[0])[1] if known else None

    def _placed(self, item: ProvenTransaction) -> None:
        """Transaction in block, block in link, link in the checkpoint's tree."""
        header = item.header.encode()
        if block_id(header) != item.link.block:
            raise VerificationError(f"the block is not the one that link {item.link.height} names")
        if item.header.chain != (self.receipt.chain if item.link.height else bytes(32)):
            raise VerificationError(f"the block at height {item.link.height} was made for another chain")
        leaf = merkle.leaf_hash(item.transaction)
        merkle.verify_inclusion(leaf, item.index, item.header.count, item.path, item.header.root)
        merkle.verify_inclusion(
            item.link.hash, item.link.height, self.checkpoint.size, item.link_path, self.checkpoint.root
        )

    def _epoch(self, epoch: Epoch, item: ProvenTransaction, authority: VerifyKey, *, signed: bool) -> None:
        if epoch.authority != authority:
            raise VerificationError(f"epoch {epoch.epoch} has another authority than the genesis")
        if signed:
            before = self.epochs.get(epoch.epoch - 1)
            signers = [authority] if epoch.epoch == 0 else [epoch.storage, *([before[0].storage] if before else [])]
            self._signed(item, signers)
        # Members whose word is not needed here are not verified: an epoch may have ten thousand.
        needed = self._slots_needed(epoch)
        replace(epoch, members=tuple(m for m in epoch.members if m.slot in needed)).verify(self.receipt.chain)

    def _slots_needed(self, epoch: Epoch) -> set[int]:
        proof = self.receipt.proof
        if proof.link.epoch != epoch.epoch or proof.certificate is None:
            return set()
        slots = {vote.header.slot for vote in proof.certificate.votes}
        fingerprints = {proof.header.proposer}
        if proof.certificate.solution is not None:
            fingerprints.add(proof.certificate.solution.solver)
        return slots | {m.slot for m in epoch.members if m.key is not None and m.key.fingerprint in fingerprints}

    def _member_block(self, item: ProvenTransaction) -> None:
        known = self.epochs.get(item.link.epoch)
        if known is None:
            raise VerificationError(f"epoch {item.link.epoch}, under which the block was appended, is not proved")
        current = self._epoch_before(item.link.height)
        if current is None or current.epoch != known[0].epoch or item.header.epoch > current.epoch:
            raise VerificationError(f"epoch {item.link.epoch} was not in force at height {item.link.height}")
        if not item.header.parent_height < item.link.height:
            raise VerificationError("the block's parent is not before it")
        if item.link.mode is Mode.QUORUM and Mark.CONTESTED in {a.mark for a in item.link.annotations}:
            raise VerificationError("the storage node called a contested block agreed")
        in_force = InForce(known[0])
        slot = in_force.slots.get(item.header.proposer)
        if slot is None:
            raise VerificationError(f"the block is not by a member of epoch {item.link.epoch}")
        self._signed(item, [in_force.keys[slot]])
        certificate = item.certificate
        if certificate is None or certificate_digest(certificate.encode()) != item.link.certificate:
            raise VerificationError("the certificate is not the one the link names")
        check = CertificateCheck(
            self.receipt.chain, item.link, item.header, item.link.block, in_force, self.signatures, self.problems
        )
        check.run(certificate, lambda _: None)
        if any(a.index == item.index and a.mark is Mark.DUPLICATE for a in item.link.annotations):
            raise VerificationError("the transaction is annotated as a duplicate and counts for nothing")

    def _signed(self, item: ProvenTransaction, allowed: Sequence[VerifyKey]) -> None:
        header, proposer = item.header.encode(), item.header.proposer
        if not any(
            key.fingerprint == proposer and self.signatures.hold(key, Domain.BLOCK, item.signature, header)
            for key in allowed
        ):
            raise VerificationError(f"the block at height {item.link.height} is not signed by whom it must be")


def marks_of(link: Link, index: int) -> Iterable[Mark]:
    """What a link says of one of its transactions."""
    return (annotation.mark for annotation in link.annotations if annotation.index == index)
