"""A writer that lost its lease: what it wrote while it did not know is told to nobody, and signed by nobody."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest

from scichain_wf.consensus import storage
from scichain_wf.errors import LedgerError, LedgerFull
from scichain_wf.ledger.prepared import prepared
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.node import chain as chains
from scichain_wf.node.commits import Committer
from scichain_wf.node.storage_node import StorageNode
from scichain_wf.node.writers import Writer, claimed
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


@pytest.fixture
def committer(chain: DiskChain, writer: Writer) -> Committer:
    return Committer(chain.store, chain.layout, chain.builder.storage, chain.builder.chain, writer)


def fence(chain: DiskChain, writer: Writer) -> None:
    """As after a long sleep in which another process took over."""
    chain.layout.marker(writer.number + 1).touch()
    writer._began -= 3_600


def commit(chain: DiskChain, committer: Committer, meanwhile: Callable[[], None]) -> tuple[storage.Outcome, ...]:
    """Commit one block; `meanwhile` happens inside of the append."""
    made = chain.builder.quorum(chain.builder.block(1, [chain.builder.task("t")]))
    assert made.certificate is not None

    def decide(*_: object) -> storage.Append:
        meanwhile()
        return storage.Append(made.mode, cast("bytes", made.certificate), (), made.epoch)

    candidate = storage.Candidate(prepared(made.block), None, (), made.epoch, None, made.certificate)
    return committer.run(cast("Any", SimpleNamespace(decide=decide)), (candidate,))


def size(chain: DiskChain) -> int:
    with chain.store.view() as view:
        return view.size


def test_a_writer_in_force_commits_publishes_and_stands_in_its_links(
    chain: DiskChain, writer: Writer, committer: Committer
) -> None:
    [outcome] = commit(chain, committer, lambda: None)
    note = committer.publish()
    assert Checkpoint.parse(note.encode()).size == size(chain) == 4
    assert chain.layout.checkpoint.read_text() == note
    with chain.store.view() as view:
        assert outcome.result == storage.Appended(view.link(3))
        assert view.link(3).writer == writer.number


def test_what_was_appended_after_the_lease_was_lost_is_not_told(
    chain: DiskChain, writer: Writer, committer: Committer
) -> None:
    """Spec: SAFE-8, SAFE-3. The process sleeps inside of the append: it becomes durable where nobody looks."""
    with pytest.raises(LedgerError, match="took over"):
        commit(chain, committer, lambda: fence(chain, writer))
    assert size(chain) == 4
    with pytest.raises(LedgerError, match="took over"):
        committer.publish()
    assert not chain.layout.checkpoint.exists()


def test_a_fenced_writer_appends_nothing_more(chain: DiskChain, writer: Writer, committer: Committer) -> None:
    """Spec: SAFE-8."""
    fence(chain, writer)
    with pytest.raises(LedgerError, match="took over"):
        commit(chain, committer, lambda: None)
    block = chain.builder.quorum(chain.builder.block(1, [chain.builder.task("t")])).block
    with pytest.raises(LedgerError, match="took over"):
        committer.append_epochs([(block, 9)])
    assert size(chain) == 3


def test_a_checkpoint_for_which_there_is_no_room_leaves_the_one_before(
    chain: DiskChain, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(chain, committer, lambda: None)
    committer.publish()
    before = chain.layout.checkpoint.read_bytes()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(Path, "replace", Mock(side_effect=full))
    with pytest.raises(LedgerFull, match="no room left while publishing the checkpoint"):
        committer.publish()
    assert chain.layout.checkpoint.read_bytes() == before


def test_a_checkpoint_is_not_signed_by_who_sleeps_between_commit_and_publication(
    chain: DiskChain, writer: Writer, committer: Committer
) -> None:
    """Spec: SAFE-8. The successor may have published a newer one."""
    commit(chain, committer, lambda: None)
    committer.publish()
    before = chain.layout.checkpoint.read_bytes()
    commit(chain, committer, lambda: None)
    fence(chain, writer)
    with pytest.raises(LedgerError, match="took over"):
        committer.publish()
    assert chain.layout.checkpoint.read_bytes() == before


def test_what_a_fenced_writer_reads_is_not_answered(chain: DiskChain, writer: Writer) -> None:
    """Spec: SAFE-8, LOSS-1. An agent that hears "known" of a link nobody else has lets go of its records."""

    async def read() -> int:
        with ThreadPoolExecutor(1) as thread:
            loop = asyncio.get_running_loop()
            node = cast("Any", SimpleNamespace(_store=chain.store, _writer=writer, _loop=loop, _thread=thread))
            return await StorageNode._read(node, lambda view: view.size)

    assert asyncio.run(read()) == 3
    fence(chain, writer)
    with pytest.raises(LedgerError, match="took over"):
        asyncio.run(read())
