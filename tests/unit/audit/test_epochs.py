"""Who may judge, from when on: epochs that are forged, and storage keys that change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scichain_wf.consensus import membership
from tests.builders import Candidate, ChainBuilder, signing_key
from tests.unit.audit.support import appended, ids, started, verify_here


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "chain"


Forger = Callable[[ChainBuilder], Candidate]


def _not_by_storage(builder: ChainBuilder) -> Candidate:
    builder.storage, storage = signing_key(3, "thief"), builder.storage
    candidate = builder.epoch_candidate(replace(builder.epoch, epoch=builder.epoch.epoch + 1, reason="join"))
    builder.storage = storage
    return candidate


def _more_slots(builder: ChainBuilder) -> Candidate:
    return builder.epoch_candidate(
        replace(builder.epoch, epoch=builder.epoch.epoch + 1, slots=1, members=builder.epoch.members[:1])
    )


def _other_settings(builder: ChainBuilder) -> Candidate:
    """What the storage key alone would gain most from."""
    settings = replace(builder.epoch.settings, storage_weight=2)
    return builder.epoch_candidate(replace(builder.epoch, epoch=builder.epoch.epoch + 1, settings=settings))


def _other_authority(builder: ChainBuilder) -> Candidate:
    restated = membership.restated(builder.epoch, signing_key(4, "usurper"), builder.chain, 1)
    return builder.epoch_candidate(replace(restated, authority=signing_key(4, "usurper").public))


def _older_generation(builder: ChainBuilder) -> Candidate:
    newer = membership.restated(builder.epoch, builder.authority, builder.chain, 3)
    return builder.epoch_candidate(newer)


@pytest.mark.parametrize(
    ("forge", "expected"),
    [
        (_not_by_storage, "SC-CHAIN-083"),
        (_more_slots, "SC-CHAIN-084"),
        (_other_settings, "SC-CHAIN-084"),
        (_other_authority, "SC-CHAIN-085"),
    ],
)
def test_a_forged_epoch_is_found(root: Path, forge: Forger, expected: str) -> None:
    chain = started(root)
    assert expected in ids(appended(root, forge(chain.builder), chain=chain))


def test_an_older_membership_cannot_come_back(root: Path) -> None:
    chain = started(root)
    old = chain.builder.epoch
    chain.append(_older_generation(chain.builder))
    back = replace(old, epoch=chain.builder.epoch.epoch + 1)
    assert ids(appended(root, chain.builder.epoch_candidate(back), chain=chain)) == {"SC-CHAIN-086"}


def test_a_new_storage_key_counts_from_its_epoch_on(root: Path) -> None:
    with started(root) as chain:
        builder = chain.builder
        new = signing_key(8, "new storage")
        epoch = membership.restated(builder.epoch, builder.authority, builder.chain, 3, storage=new.public)
        chain.append(builder.epoch_candidate(epoch))  # still signed with the old key
        builder.storage = new
        chain.checkpoint()
    assert ids(verify_here(root)) == set()


def test_an_epoch_transaction_in_a_members_block_is_found(root: Path) -> None:
    chain = started(root)
    builder = chain.builder
    epoch = replace(builder.epoch, epoch=builder.epoch.epoch + 1)
    stolen = membership.epoch_transaction(epoch, builder.chain, "node-1", builder.tick(), builder.key())
    candidate = builder.quorum(builder.block(1, [stolen]))
    assert ids(appended(root, candidate, chain=chain)) == {"SC-CHAIN-055"}
