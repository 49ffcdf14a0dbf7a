"""Epochs: who may judge. Every signature in one is needed, and none can be moved elsewhere."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, cast

import pytest

from scichain_wf import limits
from scichain_wf.consensus import membership
from scichain_wf.errors import DecodeError, VerificationError
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Epoch, Settings
from scichain_wf.model.text import ZERO_DIGEST
from scichain_wf.model.transaction import Transaction
from tests.builders import ChainBuilder, signing_key
from tests.unit.model.samples import chain

CHAIN = chain()[0].builder.chain
EPOCH = chain()[0].builder.epoch
AUTHORITY = chain()[0].builder.authority
GENESIS = Epoch.from_body(Transaction.decode(chain()[0].blocks[0].transactions[0]).body)


def dumb_quorum(slots: int, rule: str) -> int:
    """The smallest number of slots of which two sets always share one, or an honest one. Counted, not computed."""
    faulty = max(f for f in range(slots) if 3 * f + 1 <= slots) if rule == "byzantine" else 0
    return next(q for q in range(1, slots + 1) if 2 * q - slots >= faulty + 1)


@pytest.mark.parametrize("rule", ["majority", "byzantine"])
def test_the_quorum_equals_a_dumb_count(rule: str) -> None:
    for slots in range(1, 201):
        epoch = replace(EPOCH, slots=slots, settings=Settings(quorum=rule))
        assert epoch.quorum_slots() == dumb_quorum(slots, rule)


@pytest.mark.parametrize("rule", ["majority", "byzantine"])
@pytest.mark.parametrize("slots", range(1, 10))
def test_two_quorums_always_share_a_slot(rule: str, slots: int) -> None:
    """Every pair of sets, one by one."""
    quorum = replace(EPOCH, slots=slots, settings=Settings(quorum=rule)).quorum_slots()
    sets = [chosen for chosen in range(1 << slots) if chosen.bit_count() == quorum]
    assert sets
    assert all(one & other for one in sets for other in sets)


def test_the_smallest_chains_are_as_designed() -> None:
    assert [replace(EPOCH, slots=slots).quorum_slots() for slots in (1, 2, 3, 4)] == [1, 2, 2, 3]


ADAPTIVE = Settings("byzantine", 2, Difficulty("adaptive", 0, 50, 1_000), "race")


@pytest.mark.parametrize("epoch", [EPOCH, GENESIS, membership.restated(EPOCH, AUTHORITY, CHAIN, 3, settings=ADAPTIVE)])
def test_an_epoch_comes_back_and_verifies(epoch: Epoch) -> None:
    assert Epoch.from_body(epoch.body()) == epoch
    epoch.verify(CHAIN)


def test_members_are_found_by_slot_and_by_key() -> None:
    for member in EPOCH.members:
        assert member.key is not None
        assert EPOCH.member_of(member.slot) is member
        assert EPOCH.slot_of(member.key.fingerprint) == member.slot
    assert EPOCH.member_of(99) is None
    assert EPOCH.slot_of(bytes(32)) is None
    empty = replace(EPOCH, members=(replace(EPOCH.members[0], key=None, binding=None, host=None),))
    assert empty.slot_of(bytes(32)) is None
    empty.verify(CHAIN)
    assert Epoch.from_body(empty.body()) == empty


STRANGER = signing_key(5, "stranger").public
FIRST = EPOCH.members[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"slots": 4}, "membership"),
        ({"generation": 2}, "membership"),
        ({"authority": STRANGER}, "membership"),
        ({"statement": bytes(64)}, "membership"),
        ({"settings": Settings(quorum="byzantine")}, "membership"),
        ({"settings": Settings(storage_weight=1)}, "membership"),
        ({"settings": Settings(difficulty=Difficulty(value=0))}, "membership"),
        ({"settings": Settings(difficulty=Difficulty("adaptive", 1, 1, 1))}, "membership"),
        ({"settings": Settings(mining="race")}, "membership"),
        ({"storage": STRANGER}, "storage key"),
        ({"delegation": bytes(64)}, "storage key"),
        ({"members": (replace(FIRST, certificate=bytes(64)),)}, "join token of slot 1"),
        ({"members": (replace(FIRST, token=STRANGER),)}, "join token of slot 1"),
        ({"members": (replace(FIRST, slot=2),)}, "join token of slot 2"),
        ({"members": (replace(FIRST, binding=bytes(64)),)}, "key of slot 1"),
        ({"members": (replace(FIRST, binding=None),)}, "key of slot 1"),
        ({"members": (replace(FIRST, key=STRANGER),)}, "key of slot 1"),
        ({"members": (FIRST, replace(EPOCH.members[1], key=FIRST.key))}, "one key"),
        ({"generation": 0}, "genesis"),
        ({"epoch": 0}, "genesis"),
        ({"reason": "genesis"}, "genesis"),
    ],
)
def test_every_statement_is_checked(change: dict[str, Any], says: str) -> None:
    with pytest.raises(VerificationError, match=says):
        replace(EPOCH, **change).verify(CHAIN)


def test_an_epoch_of_one_chain_does_not_verify_in_another() -> None:
    with pytest.raises(VerificationError):
        EPOCH.verify(bytes(32))
    with pytest.raises(VerificationError):
        EPOCH.verify(ZERO_DIGEST)


def test_a_genesis_has_no_members_and_cannot_be_replayed_later() -> None:
    with pytest.raises(VerificationError, match="members"):
        replace(GENESIS, members=EPOCH.members).verify(CHAIN)
    other = ChainBuilder(slots=1, seed=20_260_101)  # the same authority, another chain
    genesis = Epoch.from_body(Transaction.decode(other.genesis.transactions[0]).body)
    replayed = replace(genesis, epoch=3, reason="statement")
    with pytest.raises(VerificationError, match="genesis"):
        replayed.verify(CHAIN)


def test_a_token_of_an_earlier_generation_does_not_verify() -> None:
    builder = chain()[0].builder
    restated = membership.restated(EPOCH, builder.authority, CHAIN, 3)
    restated.verify(CHAIN)
    with pytest.raises(VerificationError, match="join token"):
        replace(restated, members=EPOCH.members).verify(CHAIN)


def body_with(**change: Any) -> JsonObject:
    return copy.deepcopy(EPOCH.body()) | change


def members_with(**change: Any) -> list[Any]:
    members = cast("list[dict[str, Any]]", copy.deepcopy(EPOCH.body()["members"]))
    members[0] |= change
    return [{key: value for key, value in member.items() if value is not None} for member in members]


@pytest.mark.parametrize(
    "body",
    [
        {},
        body_with(slots=0),
        body_with(settings=Settings().as_value() | {"mining": "other"}),
        body_with(settings=Settings().as_value() | {"difficulty": {"rule": "adaptive", "value": 1}}),
        body_with(slots=limits.SLOTS_MAX + 1),
        body_with(slots=2),
        body_with(reason="other"),
        body_with(authority="ed25519:" + "00" * 32),
        body_with(members=[*members_with(), *members_with()]),
        body_with(members=members_with()[::-1]),
        body_with(members=members_with(key=None)),
        body_with(members=members_with(binding=None)),
        body_with(members=members_with(slot=0)),
        body_with(members=members_with(slot=3)),
        body_with(members=members_with(host="")),
        body_with(members=members_with(other=1)),
    ],
)
def test_a_body_of_the_wrong_shape_is_refused(body: JsonObject) -> None:
    with pytest.raises(DecodeError):
        Epoch.from_body(body)


def test_an_epoch_of_every_slot_fits_a_transaction() -> None:
    members = tuple(replace(FIRST, slot=slot, host="h" * 20) for slot in range(1, limits.SLOTS_MAX + 1))
    epoch = replace(EPOCH, slots=limits.SLOTS_MAX, members=members)
    transaction = membership.epoch_transaction(epoch, CHAIN, "h", 1, chain()[1]["epoch"].key)
    assert len(transaction.encode()) <= limits.EPOCH_TRANSACTION_BYTES_MAX
