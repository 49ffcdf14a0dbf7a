"""A store with its builder, and what tests ask of both."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from scichain_wf.ledger.prepared import prepared
from scichain_wf.ledger.store import AppendBatch, ChainStore
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from scichain_wf.model.link import Annotation, Link
from scichain_wf.model.transaction import Transaction
from tests.builders import Candidate, ChainBuilder


def append(
    batch: AppendBatch, builder: ChainBuilder, candidate: Candidate, annotations: tuple[Annotation, ...] | None = None
) -> Link:
    """What a storage node does with a checked candidate; repeats are marked unless `annotations` says what is."""
    block = prepared(candidate.block)
    link = batch.append(
        block,
        mode=candidate.mode,
        certificate=candidate.certificate,
        epoch=candidate.epoch,
        annotations=batch.repeats(block) if annotations is None else annotations,
        writer=1,
        time_us=builder.tick(1),
    )
    builder.linked(link)
    return link


def new_chain(directory: Path, slots: int = 1, seed: int = 1) -> tuple[ChainBuilder, ChainStore]:
    """A chain whose slots have joined: heights 0 to 2."""
    builder = ChainBuilder(slots, seed, Settings(difficulty=Difficulty(value=0)))
    store = ChainStore.create(directory, builder.genesis)
    with store.view() as view:
        builder.linked(view.head())
    for candidate in builder.join_all():
        with store.begin() as batch:
            append(batch, builder, candidate)
    return builder, store


def commit(store: ChainStore, builder: ChainBuilder, *blocks: Iterable[Transaction | bytes]) -> list[Link]:
    """Each of `blocks` under a quorum certificate, all in one batch."""
    with store.begin() as batch:
        return [append(batch, builder, builder.quorum(builder.block(1, block))) for block in blocks]


def fingerprint(directory: Path) -> dict[str, tuple[int, str]]:
    """Mode and content of everything below a directory: equal fingerprints mean that nothing changed."""
    found = {}
    for path in sorted(directory.rglob("*")):
        content = path.read_bytes() if path.is_file() else os.fsencode(str(path))
        found[str(path.relative_to(directory))] = (path.stat().st_mode, hashlib.sha256(content).hexdigest())
    return found


def size_of(store: ChainStore) -> int:
    """Number of links."""
    with store.view() as view:
        return view.size
