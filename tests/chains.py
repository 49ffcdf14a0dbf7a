"""Chain directories on disk, made from `ChainBuilder`: what the store and the audit are tested on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self

from scichain_wf.ledger import rawread
from scichain_wf.ledger.isolate import Inline
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.prepared import prepared
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.link import Link, Mode
from scichain_wf.model.text import digest_text
from scichain_wf.model.transaction import Transaction
from tests.builders import Candidate, ChainBuilder


class DiskChain:
    """A chain directory with its builder; a context manager that closes the store."""

    def __init__(self, root: Path, builder: ChainBuilder | None = None, *, join: bool = True) -> None:
        self.layout = ChainLayout(root)
        self.builder = builder or ChainBuilder()
        self.store = ChainStore.create(self.layout.ledger_dir(0), self.builder.genesis)
        self.contents: dict[str, bytes] = {}
        with self.store.view() as view:
            self.builder.linked(view.head())
        self.layout.trust_root.write_text(
            f"scichain-wf-trust-root-v1 {digest_text(self.builder.chain)}\n", encoding="ascii"
        )
        if join:
            first, second = self.builder.join_all()
            self.append(first)
            self.append(self._rebased(second))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def root(self) -> Path:
        """The chain directory."""
        return self.layout.root

    def close(self) -> None:
        """Close the store; the directory stays."""
        self.store.close()

    def append(self, candidate: Candidate, writer: int = 1) -> Link:
        """Append one candidate, fsynced, and tell the builder."""
        with self.store.begin() as batch:
            link = batch.append(
                prepared(candidate.block),
                mode=candidate.mode,
                certificate=candidate.certificate,
                epoch=candidate.epoch,
                annotations=candidate.annotations,
                writer=writer,
                time_us=self.builder.tick(),
            )
        self.builder.linked(link)
        return link

    def block(self, slot: int, transactions: Iterable[Transaction | bytes]) -> Link:
        """Append a block of `slot` with a quorum."""
        return self.append(self.builder.quorum(self.builder.block(slot, transactions)))

    def checkpoint(self) -> Checkpoint:
        """Sign the chain as it is, and write the checkpoint beside it."""
        with self.store.view() as view:
            note = Checkpoint(view.chain_id, view.size, view.root()).sign(self.builder.storage)
        new = self.layout.checkpoint.with_name(".checkpoint.new")
        new.write_text(note.text(), encoding="utf-8")
        new.replace(self.layout.checkpoint)
        return note

    def _rebased(self, candidate: Candidate) -> Candidate:
        """An epoch candidate made before the one before it was appended, with its parent put right."""
        epoch = self.builder.epoch
        return candidate if candidate.mode is not Mode.EPOCH else self.builder.epoch_candidate(epoch)


def small_chain(root: Path, *, slots: int = 3, tasks: int = 12, seed: int = 1) -> DiskChain:
    """A run of a few blocks: a start, tasks that build on each other, a POET block, an end. Signed, store open."""
    chain = DiskChain(root, ChainBuilder(slots=slots, seed=seed))
    builder = chain.builder
    contents = {f"out/{number}.txt": f"content of {number}\n".encode() for number in range(tasks)}
    chain.contents = contents
    start = builder.run_start(path=str(root.parent), from_chain="..")
    made: list[Transaction] = []
    for number, (name, content) in enumerate(contents.items()):
        inputs = [builder.artifact("raw.txt", b"raw")]
        if number:
            before = f"out/{number - 1}.txt"
            inputs.append(builder.artifact(before, contents[before]))
        made.append(builder.task(f"rule n={number}", inputs, [builder.artifact(name, content)]))
    third = max(1, tasks // 3)
    chain.block(1, [start, *made[:third]])
    chain.append(builder.poet(builder.block(2 if slots > 1 else 1, made[third : 2 * third])))
    chain.block(min(3, slots), [*made[2 * third :], builder.run_end(tasks)])
    chain.checkpoint()
    return chain


def write_files(chain: DiskChain) -> None:
    """Put the recorded outputs on disk, where the run's root says they are."""
    for name, content in chain.contents.items():
        path = chain.root.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


class InProcess(Inline):
    """A pool without children: quick, and seen by the coverage measurement."""

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs or 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        rawread.release()
