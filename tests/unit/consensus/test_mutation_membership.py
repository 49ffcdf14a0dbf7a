"""Membership to the last word: what mutation testing (tests/mutation) found no other test to notice."""

from __future__ import annotations

import pytest

from scichain_wf.consensus import membership
from scichain_wf.crypto.hashing import Domain
from scichain_wf.errors import VerificationError
from scichain_wf.model.block import Header, transaction_root
from scichain_wf.model.bodies import Kind
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Epoch, Settings, binding_statement, token_statement
from scichain_wf.model.text import ZERO_DIGEST
from scichain_wf.model.transaction import NO_RUN, Transaction, TransactionKey, make_key
from tests.builders import signing_key

CHAIN = b"c" * 32
AUTHORITY, STORAGE, WRITER = (signing_key(3, name) for name in ("authority", "storage", "another writer"))
SETTINGS = Settings("byzantine", 1, Difficulty(value=2), "race")
KEY: TransactionKey = make_key(7, bytes(10))


def genesis_epoch() -> Epoch:
    block = membership.genesis(AUTHORITY, STORAGE.public, 3, SETTINGS, "host-0", 99, KEY)
    return Epoch.from_body(Transaction.decode(block.transactions[0]).body)


def restated(slots: int = 3) -> Epoch:
    return membership.restated(genesis_epoch(), AUTHORITY, CHAIN, slots)


def a_join(slot: int, boot: int = 0, generation: int = 1) -> membership.Join:
    token = membership.issue_token(AUTHORITY, CHAIN, generation, slot, signing_key(3, f"token {slot}"))
    return membership.bind(token, CHAIN, signing_key(boot, f"node {slot}").public, f"host-{slot}")


def test_a_genesis_states_what_it_is_given_and_nothing_else() -> None:
    block = membership.genesis(AUTHORITY, STORAGE.public, 3, SETTINGS, "host-0", 99, KEY)
    record = Transaction.decode(block.transactions[0])
    assert record == Transaction(ZERO_DIGEST, KEY, Kind.EPOCH, NO_RUN, "host-0", 99, record.body)
    epoch = Epoch.from_body(record.body)
    epoch.verify(ZERO_DIGEST)
    assert [epoch.epoch, epoch.reason, epoch.generation, epoch.slots, epoch.members] == [0, "genesis", 0, 3, ()]
    assert [epoch.authority, epoch.storage, epoch.settings] == [AUTHORITY.public, STORAGE.public, SETTINGS]
    root = transaction_root(block.transactions)
    fingerprint = AUTHORITY.public.fingerprint
    assert block.header == Header(ZERO_DIGEST, 0, fingerprint, 0, ZERO_DIGEST, -1, root, 1, 99, 0, "storage")
    assert AUTHORITY.public.is_valid(Domain.BLOCK, block.signature, block.header_bytes)


def test_a_token_and_a_binding_are_signed_for_this_slot_and_chain() -> None:
    token = membership.issue_token(AUTHORITY, CHAIN, 4, 2, WRITER)
    assert [token.slot, token.generation, token.key] == [2, 4, WRITER]
    stated = token_statement(CHAIN, 4, 2, WRITER.public)
    assert AUTHORITY.public.is_valid(Domain.JOIN_TOKEN, token.certificate, stated)
    node = signing_key(3, "node").public
    join = membership.bind(token, CHAIN, node, "host-2")
    assert WRITER.public.is_valid(Domain.BINDING, join.binding, binding_statement(CHAIN, 4, 2, node))
    assert [join.slot, join.token, join.certificate, join.key] == [2, WRITER.public, token.certificate, node]
    assert join.host == "host-2"


def test_the_authority_states_the_list_anew_and_keeps_what_it_does_not_name() -> None:
    """30-post, Membership."""
    first = membership.joined(restated(5), CHAIN, (a_join(1),))
    again = membership.restated(first, AUTHORITY, CHAIN, 2)
    again.verify(CHAIN)
    assert [again.epoch, again.reason, again.generation, again.slots] == [first.epoch + 1, "statement", 2, 2]
    assert [again.members, again.storage, again.settings] == [(), STORAGE.public, SETTINGS]
    other = Settings("majority", 0, Difficulty(value=0), "own")
    changed = membership.restated(first, AUTHORITY, CHAIN, 2, WRITER.public, other)
    changed.verify(CHAIN)
    assert [changed.storage, changed.settings] == [WRITER.public, other]


def test_joins_add_up_and_a_node_that_comes_again_replaces_its_key() -> None:
    base = restated()
    first = membership.joined(base, CHAIN, (a_join(3), a_join(1)))
    assert [first.epoch, first.reason, first.generation] == [base.epoch + 1, "join", 1]
    assert [member.slot for member in first.members] == [1, 3]
    second = membership.joined(first, CHAIN, (a_join(1, boot=5), a_join(2)))
    second.verify(CHAIN)
    assert [member.slot for member in second.members] == [1, 2, 3]
    assert [second.members[0].key, second.members[2]] == [a_join(1, boot=5).key, first.members[1]]
    join = a_join(1, boot=5)
    found = second.members[0]
    assert [found.token, found.certificate, found.binding, found.host] == [
        join.token,
        join.certificate,
        join.binding,
        join.host,
    ]


@pytest.mark.parametrize(("slot", "reason"), [(0, "slot 0 is outside"), (1, ""), (3, ""), (4, "slot 4 is outside")])
def test_the_first_and_the_last_slot_can_be_joined_and_none_beyond(slot: int, reason: str) -> None:
    if not reason:
        assert membership.joined(restated(), CHAIN, (a_join(slot),)).members[0].slot == slot
        return
    with pytest.raises(VerificationError, match=reason):
        membership.joined(restated(), CHAIN, (a_join(slot),))


def test_a_join_of_another_generation_does_not_hold() -> None:
    with pytest.raises(VerificationError, match="is not signed by whom it must be"):
        membership.joined(restated(), CHAIN, (a_join(1, generation=2),))


def test_an_epoch_is_stated_in_a_transaction_of_its_chain() -> None:
    epoch = restated()
    record = membership.epoch_transaction(epoch, CHAIN, "host-0", 99, KEY)
    assert record == Transaction(CHAIN, KEY, Kind.EPOCH, NO_RUN, "host-0", 99, epoch.body())


def test_a_sealed_block_says_what_it_is_given() -> None:
    data = (restated_bytes(), restated_bytes(4))
    block = membership.seal(WRITER, CHAIN, 2, 5, b"p" * 32, 7, data, 99, 3)
    root, fingerprint = transaction_root(data), WRITER.public.fingerprint
    assert block.header == Header(CHAIN, 2, fingerprint, 5, b"p" * 32, 7, root, 2, 99, 3, "outbox")
    assert block.transactions == data
    assert WRITER.public.is_valid(Domain.BLOCK, block.signature, block.header_bytes)
    assert membership.seal(WRITER, CHAIN, 2, 5, b"p" * 32, 7, data, 99, 3, "spool").header.source == "spool"


def restated_bytes(slots: int = 3) -> bytes:
    return membership.epoch_transaction(restated(slots), CHAIN, "host-0", 99, KEY).encode()
