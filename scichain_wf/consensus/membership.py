"""Membership as pure functions: the genesis, join tokens, bindings and the epochs that follow.

Who signs what is drawn in `model.epoch`. Nothing here reads a clock or makes a key: both are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scichain_wf.crypto import merkle
from scichain_wf.crypto.hashing import Domain
from scichain_wf.crypto.signing import SigningKey, VerifyKey
from scichain_wf.errors import VerificationError
from scichain_wf.model.block import Block, Header
from scichain_wf.model.bodies import Kind
from scichain_wf.model.epoch import (
    Epoch,
    Member,
    Settings,
    binding_statement,
    delegation_statement,
    membership_statement,
    token_statement,
)
from scichain_wf.model.text import ZERO_DIGEST
from scichain_wf.model.transaction import NO_RUN, Transaction, TransactionKey


@dataclass(frozen=True, slots=True)
class JoinToken:
    """The right to fill one slot: the token's key and the authority's signature over it."""

    slot: int
    generation: int
    key: SigningKey
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Join:
    """What a node that booted presents: the key it made, bound to its slot by the token."""

    slot: int
    token: VerifyKey
    certificate: bytes
    key: VerifyKey
    binding: bytes
    host: str


def issue_token(authority: SigningKey, chain: bytes, generation: int, slot: int, token: SigningKey) -> JoinToken:
    """The authority certifies `token` for `slot`."""
    statement = token_statement(chain, generation, slot, token.public)
    return JoinToken(slot, generation, token, authority.sign(Domain.JOIN_TOKEN, statement))


def bind(token: JoinToken, chain: bytes, key: VerifyKey, host: str) -> Join:
    """A node binds the key it made at boot to its slot."""
    binding = token.key.sign(Domain.BINDING, binding_statement(chain, token.generation, token.slot, key))
    return Join(token.slot, token.key.public, token.certificate, key, binding, host)


def genesis(
    authority: SigningKey,
    storage: VerifyKey,
    slots: int,
    settings: Settings,
    host: str,
    time_us: int,
    key: TransactionKey,
) -> Block:
    """The first block of a chain, signed by the authority; the chain's id is the hash of its link."""
    epoch = Epoch(
        epoch=0,
        reason="genesis",
        authority=authority.public,
        generation=0,
        slots=slots,
        statement=authority.sign(Domain.MEMBERSHIP, membership_statement(ZERO_DIGEST, 0, slots, settings)),
        storage=storage,
        delegation=authority.sign(Domain.DELEGATION, delegation_statement(ZERO_DIGEST, 0, storage)),
        members=(),
        settings=settings,
    )
    transaction = Transaction(ZERO_DIGEST, key, Kind.EPOCH, NO_RUN, host, time_us, epoch.body())
    return seal(authority, ZERO_DIGEST, 0, 0, ZERO_DIGEST, -1, (transaction.encode(),), time_us, 0, "storage")


def restated(
    current: Epoch,
    authority: SigningKey,
    chain: bytes,
    slots: int,
    storage: VerifyKey | None = None,
    settings: Settings | None = None,
) -> Epoch:
    """A new generation with `slots` empty slots: what the launcher of a run states (30-post, Membership)."""
    generation = current.generation + 1
    writer, rules = storage or current.storage, settings or current.settings
    return replace(
        current,
        epoch=current.epoch + 1,
        reason="statement",
        generation=generation,
        slots=slots,
        statement=authority.sign(Domain.MEMBERSHIP, membership_statement(chain, generation, slots, rules)),
        storage=writer,
        delegation=authority.sign(Domain.DELEGATION, delegation_statement(chain, generation, writer)),
        members=(),
        settings=rules,
    )


def joined(current: Epoch, chain: bytes, joins: tuple[Join, ...]) -> Epoch:
    """The next epoch, with every join of a batch; a node that comes again replaces its old key.

    Raises:
        VerificationError: a join's token or binding does not hold, or its slot is outside the list.
    """
    if current.generation == 0:
        raise VerificationError("nobody can join the genesis: the authority states the list of slots first")
    members = {member.slot: member for member in current.members}
    for join in joins:
        if not 1 <= join.slot <= current.slots:
            raise VerificationError(f"slot {join.slot} is outside this epoch's {current.slots} slots")
        members[join.slot] = Member(join.slot, join.token, join.certificate, join.key, join.binding, join.host)
    epoch = replace(
        current, epoch=current.epoch + 1, reason="join", members=tuple(members[slot] for slot in sorted(members))
    )
    if len({m.key for m in epoch.members if m.key}) != len([m for m in epoch.members if m.key]):
        raise VerificationError("one key cannot fill two slots")
    epoch.verify(chain)
    return epoch


def epoch_transaction(epoch: Epoch, chain: bytes, host: str, time_us: int, key: TransactionKey) -> Transaction:
    """The transaction that states `epoch`."""
    return Transaction(chain, key, Kind.EPOCH, NO_RUN, host, time_us, epoch.body())


def seal(
    key: SigningKey,
    chain: bytes,
    epoch: int,
    sequence: int,
    parent: bytes,
    parent_height: int,
    transactions: tuple[bytes, ...],
    time_us: int,
    difficulty: int,
    source: str = "outbox",
    leaves: list[bytes] | None = None,
) -> Block:
    """A signed block over `transactions` (their bytes, in order); `leaves` are their ids, where these are known."""
    leaves = merkle.leaf_hashes(transactions) if leaves is None else leaves
    header = Header(
        chain=chain,
        epoch=epoch,
        proposer=key.public.fingerprint,
        sequence=sequence,
        parent=parent,
        parent_height=parent_height,
        root=merkle.root(leaves),
        count=len(transactions),
        time_us=time_us,
        difficulty=difficulty,
        source=source,
    ).encode()
    return Block.of(header, key.sign(Domain.BLOCK, header), transactions, leaves)
