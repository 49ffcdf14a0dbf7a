"""Agents sign the storage node's checkpoint of the links that they have; it is published again with what holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scichain_wf import limits
from scichain_wf.errors import DecodeError, VerificationError
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.node import chain as chains
from scichain_wf.node import wire
from scichain_wf.node.commits import Committer
from scichain_wf.node.cosigning import Notes, Witness
from scichain_wf.node.log import Log
from scichain_wf.node.room import Room
from scichain_wf.node.tasks import Tasks
from scichain_wf.node.writers import Writer, claimed
from tests.builders import signing_key
from tests.chains import DiskChain


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[DiskChain]:
    (tmp_path / "chain").mkdir()
    with DiskChain(tmp_path / "chain") as made:
        chains.prepare(made.layout)
        yield made


@pytest.fixture
def writer(chain: DiskChain) -> Iterator[Writer]:
    with claimed(chain.layout) as taken:
        taken.hold()
        yield taken


def witness(chain: DiskChain, slot: int) -> Witness:
    return Witness(chain.builder.nodes[slot], slot, chain.builder.chain)


def cosigners(note: Checkpoint, chain: DiskChain) -> list[int]:
    found = []
    for slot, key in chain.builder.nodes.items():
        try:
            note.verify_cosignature(key.public, slot)
        except VerificationError:
            continue
        found.append(slot)
    return found


class Node:
    """The part of a storage node that is about checkpoints, on one commit of one block."""

    def __init__(self, chain: DiskChain, writer: Writer) -> None:
        self.chain, self.told, self.failed = chain, list[bytes](), list[BaseException]()
        builder = chain.builder
        self.epoch = builder.epoch.epoch
        self.thread = ThreadPoolExecutor(1)
        self.committer = Committer(chain.store, chain.layout, builder.storage, builder.chain, writer)
        self.commit()
        members = cast("Any", SimpleNamespace(broadcast=lambda kind, text: self.told.append(bytes([kind]) + text)))
        room = Room(chain.store, self.thread, Log("test"))
        self.notes = Notes(self.committer, members, room, self.thread, Tasks(self.failed.append))

    def commit(self) -> None:
        """Another epoch, which needs no decision."""
        self.epoch += 1
        block = self.chain.builder.epoch_candidate(self.chain.builder.epoch).block
        self.committer.append_epochs([(block, self.epoch)])

    @property
    def published(self) -> Checkpoint:
        return Checkpoint.parse(self.chain.layout.checkpoint.read_bytes())

    def take(self, slot: int, payload: bytes | None) -> None:
        assert payload is not None
        self.notes.take(slot, payload, self.chain.builder.epoch)


@pytest.fixture
def node(chain: DiskChain, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr(limits, "COSIGN_S", 0.01)
    made = Node(chain, writer)
    yield made
    made.thread.shutdown()
    assert not made.failed


def test_a_checkpoint_is_told_and_published_again_with_the_names_of_who_signed(node: Node, chain: DiskChain) -> None:
    async def play() -> None:
        await node.notes.publish()
        assert cosigners(node.published, chain) == []
        text = node.told[0][1:]
        assert node.told[0][0] == wire.Kind.CHECKPOINT
        for slot in (1, 3):
            node.take(slot, witness(chain, slot).cosigned(text, node.published.size - 1, chain.builder.storage.public))
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
        assert cosigners(node.published, chain) == [1, 3]
        node.take(2, witness(chain, 2).cosigned(text, node.published.size - 1, chain.builder.storage.public))
        await node.notes.finish()  # the end waits for nothing
        assert cosigners(node.published, chain) == [1, 2, 3]
        node.published.verify_storage(chain.builder.storage.public)

    asyncio.run(play())


def test_what_is_not_of_the_newest_checkpoint_or_does_not_hold_changes_nothing(node: Node, chain: DiskChain) -> None:
    async def play() -> None:
        await node.notes.publish()
        text, size = node.told[0][1:], node.published.size
        storage = chain.builder.storage.public
        signed = witness(chain, 1).cosigned(text, size - 1, storage)
        assert signed is not None
        node.take(2, signed)  # another slot's name
        node.take(9, signed)  # nobody's
        node.take(1, Witness(signing_key(9, "thief"), 1, chain.builder.chain).cosigned(text, size - 1, storage))
        with pytest.raises(DecodeError, match="malformed"):
            node.take(1, signed[:-1])
        before = node.published
        await node.notes.finish()
        assert node.published == before
        node.take(1, signed)
        node.commit()  # it is overtaken before it is written
        await node.notes.finish()
        assert node.published == before
        await node.notes.publish()
        node.take(1, signed)
        await node.notes.finish()
        assert (node.published.size, cosigners(node.published, chain)) == (size + 1, [])

    asyncio.run(play())


def test_before_the_first_checkpoint_there_is_nothing_to_sign(node: Node, chain: DiskChain) -> None:
    node.take(1, bytes(80))
    asyncio.run(node.notes.finish())
    assert not chain.layout.checkpoint.exists()


def test_an_agent_signs_only_what_covers_its_links(chain: DiskChain) -> None:
    note, storage = chain.checkpoint(), chain.builder.storage.public
    text = note.text().encode()
    one = witness(chain, 1)
    assert one.cosigned(text, note.size - 1, storage) is not None
    assert one.cosigned(text, note.size, storage) is None
    assert one.cosigned(text, note.size - 1, None) is None
    assert one.cosigned(text, note.size - 1, signing_key(9, "thief").public) is None
    assert one.cosigned(b"nothing", 0, storage) is None
    assert Witness(chain.builder.nodes[1], 1, bytes(32)).cosigned(text, note.size - 1, storage) is None
