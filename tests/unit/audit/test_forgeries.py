"""Chains whose storage node lies: every rule of blocks, certificates, epochs and proofs has one that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scichain_wf import audit
from scichain_wf.crypto import puzzle
from scichain_wf.crypto.hashing import Domain, sha256
from scichain_wf.ledger import keys
from scichain_wf.model.block import Block
from scichain_wf.model.certificate import PoetCertificate, QuorumCertificate, Solution, certificate_digest
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from scichain_wf.model.link import Mode
from scichain_wf.model.receipt import Receipt
from scichain_wf.model.verdict import Vote
from tests.builders import Candidate, ChainBuilder, signing_key
from tests.chains import DiskChain, small_chain
from tests.unit.audit.support import appended, get, ids, put, started, verify_here
from tests.unit.audit.test_chain import rewrite_last_link


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "chain"


def resealed(builder: ChainBuilder, block: Block, **header: object) -> Block:
    """`block` with other header fields, signed again by slot 1."""
    data = replace(block.header, **header).encode()  # type: ignore[arg-type]
    return Block(data, builder.nodes[1].sign(Domain.BLOCK, data), block.transactions)


def certified(builder: ChainBuilder, block: Block, **fields: object) -> Candidate:
    """A quorum candidate whose certificate has other fields."""
    votes = (builder.vote(1, block), builder.vote(2, block))
    certificate = QuorumCertificate(block.id, builder.epoch.epoch, builder.solution(block), votes)
    changed = replace(certificate, **fields)  # type: ignore[arg-type]
    return Candidate(block, Mode.QUORUM, changed.encode(), builder.epoch.epoch)


Forge = Callable[[ChainBuilder, Block], Candidate]
FORGERIES: dict[str, tuple[Forge, set[str]]] = {
    "epoch from the future": (
        lambda b, block: b.quorum(resealed(b, block, epoch=b.epoch.epoch + 1)),
        {"SC-CHAIN-052"},
    ),
    "parent at or above its own height": (
        lambda b, block: b.quorum(resealed(b, block, parent_height=b.height + 1, parent=sha256(b"x"))),
        {"SC-CHAIN-051"},
    ),
    "source that only storage has": (
        lambda b, block: b.quorum(resealed(b, block, source="storage")),
        {"SC-CHAIN-055"},
    ),
    "certificate for another block": (
        lambda b, block: replace(certified(b, b.block(2, [b.task("other")])), block=block),
        {"SC-CHAIN-061"},
    ),
    "certificate of another epoch": (
        lambda b, block: certified(b, block, epoch=b.epoch.epoch - 1),
        {"SC-CHAIN-061"},
    ),
    "vote of a slot without key": (
        lambda b, block: certified(b, block, votes=(b.vote(1, block), _moved(b, block, slot=9))),
        {"SC-CHAIN-062", "SC-CHAIN-063"},
    ),
    "vote on another chain": (
        lambda b, block: certified(b, block, votes=(b.vote(1, block), _moved(b, block, chain=sha256(b"x")))),
        {"SC-CHAIN-062", "SC-CHAIN-063"},
    ),
    "vote of another epoch": (
        lambda b, block: certified(b, block, votes=(b.vote(1, block), _moved(b, block, epoch=1))),
        {"SC-CHAIN-062", "SC-CHAIN-063"},
    ),
    "vote that is not in its batch": (
        lambda b, block: certified(b, block, votes=(b.vote(1, block), _moved(b, block, root=sha256(b"x")))),
        {"SC-CHAIN-062", "SC-CHAIN-063"},
    ),
    "solution that solves nothing": (
        lambda b, block: certified(b, block, solution=Solution(block.header.proposer, _no_solution(block))),
        {"SC-CHAIN-057"},
    ),
    "solution by another, though mining is not a race": (
        lambda b, block: certified(b, block, solution=_others_solution(b, block, signed=True)),
        {"SC-CHAIN-057"},
    ),
}


def _moved(builder: ChainBuilder, block: Block, **header: object) -> Vote:
    """Slot 2's vote with other header fields, signed by slot 2 all the same."""
    vote = builder.vote(2, block)
    changed = replace(vote.header, **header)  # type: ignore[arg-type]
    return replace(vote, header=changed, signature=builder.nodes[2].sign(Domain.VERDICT_BATCH, changed.encode()))


def _no_solution(block: Block) -> int:
    return next(n for n in range(100) if not puzzle.solves(block.id, block.header.proposer, n, block.header.difficulty))


def _others_solution(builder: ChainBuilder, block: Block, *, signed: bool) -> Solution:
    solver = builder.nodes[2].public.fingerprint
    nonce = puzzle.solve(block.id, solver, block.header.difficulty)
    assert nonce is not None
    statement = block.id + nonce.to_bytes(8, "big")
    signature = builder.nodes[2].sign(Domain.PUZZLE, statement) if signed else bytes(64)
    return Solution(solver, nonce, signature)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_block_or_certificate_is_found(root: Path, name: str) -> None:
    """Spec: SAFE-4."""
    forge, expected = FORGERIES[name]
    chain = started(root)
    block = chain.builder.block(1, [chain.builder.task("x")])
    assert ids(appended(root, forge(chain.builder, block), chain=chain)) == expected


def test_a_poet_certificate_of_another_writer_is_found(root: Path) -> None:
    chain = started(root)
    candidate = chain.builder.poet(chain.builder.block(1, [chain.builder.task("x")]), writer=7)
    assert ids(appended(root, candidate, chain=chain)) == {"SC-CHAIN-068"}


@pytest.mark.parametrize(("signed", "expected"), [(True, set()), (False, {"SC-CHAIN-057"})])
def test_in_a_race_another_member_may_solve_and_signs_it(root: Path, signed: bool, expected: set[str]) -> None:
    chain = DiskChain(root, ChainBuilder(settings=Settings(difficulty=Difficulty(value=1), mining="race")))
    builder = chain.builder
    block = builder.block(1, [builder.task("x")])
    candidate = certified(builder, block, solution=_others_solution(builder, block, signed=signed))
    assert ids(appended(root, candidate, chain=chain)) == expected


def test_without_puzzle_no_solution_is_needed(root: Path) -> None:
    chain = DiskChain(root, ChainBuilder(settings=Settings(difficulty=Difficulty(value=0))))
    candidate = chain.builder.quorum(chain.builder.block(1, [chain.builder.task("x")]))
    assert ids(appended(root, candidate, chain=chain)) == set()


@pytest.mark.parametrize(("weight", "votes", "expected"), [(1, 1, set()), (1, 0, {"SC-CHAIN-062"}), (2, 0, set())])
def test_storage_counts_as_its_weight_says(root: Path, weight: int, votes: int, expected: set[str]) -> None:
    chain = DiskChain(root, ChainBuilder(settings=Settings(difficulty=Difficulty(value=0), storage_weight=weight)))
    block = chain.builder.block(1, [chain.builder.task("x")])
    cited = tuple(chain.builder.vote(slot + 1, block) for slot in range(votes))
    assert ids(appended(root, chain.builder.poet(block, votes=cited), chain=chain)) == expected


def test_a_byzantine_quorum_needs_more_slots(root: Path) -> None:
    settings = Settings(difficulty=Difficulty(value=0), quorum="byzantine")
    chain = DiskChain(root, ChainBuilder(slots=4, settings=settings))
    block = chain.builder.block(1, [chain.builder.task("x")])
    assert ids(appended(root, chain.builder.quorum(block, [1, 2]), chain=chain)) == {"SC-CHAIN-062"}


def test_a_certificate_that_is_no_record_is_found(root: Path) -> None:
    with started(root) as chain:
        link = chain.append(chain.builder.quorum(chain.builder.block(1, [chain.builder.task("x")])))
    garbage = b'{"type":"quorum"}'
    put(root, [(keys.CERTIFICATES, keys.height_key(link.height), garbage)])
    rewrite_last_link(root, chain, replace(link, certificate=certificate_digest(garbage)))
    assert ids(verify_here(root)) == {"SC-CHAIN-060"}


def test_a_link_of_another_epoch_than_the_one_in_force_is_found(root: Path) -> None:
    with started(root) as chain:
        link = chain.append(chain.builder.poet(chain.builder.block(1, [chain.builder.task("x")])))
    rewrite_last_link(root, chain, replace(link, epoch=0))
    assert {"SC-CHAIN-082", "SC-CHAIN-061"} <= ids(verify_here(root))


def test_records_of_a_newer_version_are_incomplete_not_wrong(root: Path) -> None:
    with started(root) as chain:
        link = chain.append(chain.builder.poet(chain.builder.block(1, [chain.builder.task("x")])))
    stored = get(root, keys.LINKS, keys.height_key(link.height))
    put(root, [(keys.LINKS, keys.height_key(link.height), stored.replace(b'"version":1', b'"version":2'))])
    assert "SC-CHAIN-018" in ids(verify_here(root))


def test_an_epoch_that_came_without_its_link_mode_is_found(root: Path) -> None:
    """A member's block under mode `epoch` would need no certificate."""
    with started(root) as chain:
        block = chain.builder.block(1, [chain.builder.task("x")])
        link = chain.append(chain.builder.quorum(block))
    put(root, [(keys.CERTIFICATES, keys.height_key(link.height), None)])
    rewrite_last_link(root, chain, replace(link, mode=Mode.EPOCH, certificate=None))
    assert "SC-CHAIN-081" in ids(verify_here(root))


# --- proofs of one transaction --------------------------------------------------------------------------
def receipt_of(root: Path) -> tuple[Receipt, bytes]:
    with small_chain(root) as chain:
        made = chain.root.parent / "out/5.txt"
    return Receipt.decode(audit.make_receipt(root, made)), chain.builder.chain


def survives(receipt: Receipt, chain: bytes) -> bool:
    return audit.verify_receipt(receipt.encode(), chain).exit_code == 0


def test_a_receipt_with_parts_of_another_proof_is_found(root: Path) -> None:
    """Spec: AUD-1."""
    receipt, chain = receipt_of(root)
    assert survives(receipt, chain)
    proof, epochs = receipt.proof, receipt.epochs
    other = Checkpoint(sha256(b"x"), 6, bytes(32)).sign(signing_key(1, "storage")).text()
    certificate = proof.certificate
    assert isinstance(certificate, PoetCertificate)
    for changed in (
        replace(receipt, checkpoint=other),
        replace(receipt, epochs=epochs[1:]),
        replace(receipt, epochs=epochs[:1]),
        replace(receipt, epochs=(*epochs, epochs[-1])),
        replace(receipt, proof=replace(proof, index=proof.index ^ 1)),
        replace(receipt, proof=replace(proof, path=())),
        replace(receipt, proof=replace(proof, link_path=proof.link_path[:-1])),
        replace(receipt, proof=replace(proof, signature=bytes(64))),
        replace(receipt, proof=replace(proof, header=replace(proof.header, sequence=99))),
        replace(receipt, proof=replace(proof, certificate=None)),
        replace(receipt, proof=replace(proof, certificate=replace(certificate, reason="conflict"))),
        replace(receipt, proof=replace(epochs[-1], index=1)),
    ):
        assert not survives(changed, chain)


def test_a_receipt_can_prove_an_epoch(root: Path) -> None:
    receipt, chain = receipt_of(root)
    assert survives(replace(receipt, proof=receipt.epochs[-1]), chain)


def test_a_receipt_under_a_storage_key_that_nobody_delegated_is_found(root: Path) -> None:
    receipt, chain = receipt_of(root)
    note = Checkpoint.parse(receipt.checkpoint)
    assert not survives(
        replace(receipt, checkpoint=replace(note, signatures=()).sign(signing_key(2, "thief")).text()), chain
    )


def test_a_receipt_with_epochs_of_another_chain_is_found(root: Path, tmp_path: Path) -> None:
    receipt, chain = receipt_of(root)
    with small_chain(tmp_path / "other", seed=5) as other:
        made = other.root.parent / "out/5.txt"
    foreign = Receipt.decode(audit.make_receipt(tmp_path / "other", made))
    assert not survives(replace(receipt, epochs=(receipt.epochs[0], *foreign.epochs[1:])), chain)
