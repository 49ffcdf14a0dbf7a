"""Who may propose and judge under one epoch, and whether a block is one of theirs (V2).

Checked here: the block is of this chain, is not from the future, is signed by the key that an epoch binds to a slot,
and carries nothing that only the storage node may state. Not checked here: the transactions' shape (V1, done when a
block is parsed), the parent and the difficulty (need the chain), traceability (`validity`). A vote ignores the puzzle
(decision 2); storage asks `check_solution`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from scichain_wf.crypto import puzzle
from scichain_wf.crypto.hashing import Domain
from scichain_wf.errors import VerificationError
from scichain_wf.model.bodies import Kind
from scichain_wf.model.epoch import Epoch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scichain_wf.consensus.validity import ParsedBlock
    from scichain_wf.crypto.signing import VerifyKey
    from scichain_wf.model.block import Block
    from scichain_wf.model.canonical import JsonObject
    from scichain_wf.model.certificate import Solution

_EPOCH: Final = Kind.EPOCH.value.encode()


class Roster:
    """One epoch with its look-ups; built once per epoch, since a membership can have thousands of slots.

    Args:
        epoch: verified by who passes it.
        chain: chain id.
        keys: by slot, what verifies its signatures; by default the keys that the epoch binds.
    """

    def __init__(self, epoch: Epoch, chain: bytes, keys: Mapping[int, VerifyKey] | None = None) -> None:
        self.epoch = epoch
        self.chain = chain
        self.number = epoch.epoch
        self.quorum = epoch.quorum_slots()
        bound = {m.slot: m.key for m in epoch.members if m.key is not None}
        self.keys: Mapping[int, VerifyKey] = bound if keys is None else keys
        self.bound = frozenset(self.keys)  # made once: with thousands of slots, not once per agent of a simulation
        self._slots = {key.fingerprint: slot for slot, key in self.keys.items()}

    @classmethod
    def read(cls, body: JsonObject, chain: bytes) -> Self:
        """The roster that the body of an `epoch` transaction states.

        Raises:
            DecodeError: not that shape.
            VerificationError: a statement in it is not signed by whom it must be.
        """
        epoch = Epoch.from_body(body)
        epoch.verify(chain)
        return cls(epoch, chain)

    def slot_of(self, proposer: bytes) -> int | None:
        """The slot whose bound key has this fingerprint, or None."""
        return self._slots.get(proposer)

    def check_block(self, parsed: ParsedBlock, signer: VerifyKey | None = None) -> int:
        """V2 without the parent; returns the proposer's slot.

        Args:
            parsed: the block.
            signer: whose signature of it was verified before.

        Raises:
            VerificationError: the block cannot be appended under this epoch, whatever is in it.
        """
        block, header = parsed.block, parsed.block.header
        if header.chain != self.chain:
            raise VerificationError("the block belongs to another chain")
        if header.epoch > self.number:
            raise VerificationError(f"the block is of epoch {header.epoch}, the newest is {self.number}")
        slot = self.slot_of(header.proposer)
        if slot is None:
            raise VerificationError(f"no slot of epoch {self.number} is bound to the proposer's key")
        if self.keys[slot] != signer:
            self.keys[slot].verify(Domain.BLOCK, block.signature, block.header_bytes)
        if header.source == "storage":
            raise VerificationError("only the storage node's own blocks come from storage")
        if any(kind == _EPOCH for _, _, _, kind, _, _ in parsed.facts):
            raise VerificationError("membership is stated by the storage node, not in a node's block")
        return slot

    def check_solution(self, block: Block, solution: Solution | None) -> None:
        """The puzzle of the block is solved, by who may solve it (SciChain §4.5).

        Raises:
            VerificationError: it is not.
        """
        header = block.header
        if header.difficulty == 0:
            if solution is not None:
                raise VerificationError("a solution for a block that has no puzzle")
            return
        if solution is None:
            raise VerificationError("the puzzle is not solved")
        if solution.solver != header.proposer:
            self._check_other_solver(block.id, solution)
        elif solution.signature is not None:
            raise VerificationError("the proposer's own solution carries no signature")
        if not self.solves(block.id, solution.solver, solution.nonce, header.difficulty):
            raise VerificationError(f"the nonce does not solve a puzzle of difficulty {header.difficulty}")

    def solves(self, block: bytes, solver: bytes, nonce: int, difficulty: int) -> bool:
        """Whether a nonce solves a puzzle, see `crypto.puzzle`; the simulator searches in virtual time only."""
        return puzzle.solves(block, solver, nonce, difficulty)

    def _check_other_solver(self, block: bytes, solution: Solution) -> None:
        slot = self.slot_of(solution.solver)
        if self.epoch.settings.mining != "race" or slot is None or solution.signature is None:
            raise VerificationError("the puzzle is solved by one who may not solve it")
        self.keys[slot].verify(Domain.PUZZLE, solution.signature, solution_statement(block, solution.nonce))


def solution_statement(block: bytes, nonce: int) -> bytes:
    """What a solver other than the proposer signs (`Domain.PUZZLE`): `Solved(block id, nonce)`."""
    return block + nonce.to_bytes(8, "big")
