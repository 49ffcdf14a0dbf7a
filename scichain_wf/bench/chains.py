"""Big chains, fast: real signatures, roots and certificates around transactions that are filled into a template.

A generated workflow is one run of `transactions - 2` tasks between a `run-start` and a `run-end`. Each task reads a
source file and the first output of the task before it, and writes two files of its own: about 1 KB in canonical form.
The chain verifies; nothing in it is contested or late.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from scichain_wf.bench.builder import ChainBuilder
from scichain_wf.crypto.hashing import sha256
from scichain_wf.ledger.batch import AppendBatch
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.prepared import prepared
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.block import Block
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from scichain_wf.model.link import Link, Mode
from scichain_wf.model.text import digest_text
from scichain_wf.model.transaction import make_key

if TYPE_CHECKING:
    from pathlib import Path

    from scichain_wf.bench.builder import Candidate

WRITER: Final = 1
_KEYS_PER_MS: Final = 16


class Ready(NamedTuple):
    """What a storage node gets over the wire."""

    block: bytes
    mode: Mode
    certificate: bytes | None
    epoch: int


def task_template(builder: ChainBuilder) -> Callable[[int], bytes]:
    """Makes task `number` of the builder's run in about 3 µs; `number` counts from 0."""
    source, before, first, second = "data/reference.fa.gz", "out/0000000b.bam", "out/0000000c.bam", "out/0000000c.bai"
    example = builder.task(
        "align sample=0000000c",
        [
            builder.artifact(source, b"source") | {"origin": "source"},
            builder.artifact(before, b"before") | {"origin": "task:align sample=0000000b"},
        ],
        [builder.artifact(first, b"first_"), builder.artifact(second, b"second")],
    )
    text = example.encode()
    digests = [sha256(content).hex().encode() for content in (b"before", b"first_", b"second")]
    for old, new in [
        (example.key.hex().encode(), b"%(key)b"),
        (b"0000000b", b"%(before)b"),
        (b"0000000c", b"%(number)b"),
        *zip(digests, (b"%(digest_before)b", b"%(digest)b", b"%(digest_second)b"), strict=True),
    ]:
        text = text.replace(old, new)
    begin_ms, random = builder.now_us // 1_000, builder.random.randbytes

    def make(number: int) -> bytes:
        this, last = b"%08x" % (number + 1), b"%08x" % number
        millisecond, within = divmod(number, _KEYS_PER_MS)
        key = make_key(begin_ms + millisecond, (within * 16).to_bytes(2, "big") + random(8))
        return text % {
            b"key": key.hex().encode(),
            b"before": last,
            b"number": this,
            b"digest_before": sha256(last).hex().encode(),
            b"digest": sha256(this).hex().encode(),
            b"digest_second": sha256(this + last).hex().encode(),
        }

    return make


def workflow(builder: ChainBuilder, transactions: int) -> Iterator[bytes]:
    """The run's transactions, in an order in which every input was made before it is read."""
    yield builder.run_start().encode()
    make = task_template(builder)
    tasks = transactions - 2
    for number in range(tasks):
        data = make(number)
        if number == 0:  # reads something that nobody made: have it be a source too
            data = data.replace(b'"origin":"task:align sample=00000000"', b'"origin":"source"')
        yield data
    builder.tick(tasks * 1_000 // _KEYS_PER_MS + 1_000)
    yield builder.run_end(tasks).encode()


def start(directory: Path, slots: int, seed: int) -> tuple[ChainBuilder, ChainStore]:
    """A new chain whose slots have all joined. `directory` is the ledger's, not the chain's."""
    builder = ChainBuilder(slots, seed, Settings(difficulty=Difficulty(value=0)))
    store = ChainStore.create(directory, builder.genesis)
    with store.view() as view:
        builder.linked(view.head())
    for candidate in builder.join_all():
        append(store, builder, [ready(candidate)])
    return builder, store


def ready(candidate: Candidate) -> Ready:
    """A candidate as bytes."""
    return Ready(candidate.block.encode(), candidate.mode, candidate.certificate, candidate.epoch)


def append(store: ChainStore, builder: ChainBuilder, blocks: list[Ready]) -> tuple[float, float]:
    """What a storage node does with blocks whose certificates it has checked: one group commit.

    Returns:
        Seconds of wall and CPU time that went into splitting and parsing, before the blocks were ready to append.
    """
    wall = cpu = 0.0

    def body(batch: AppendBatch) -> Link:
        nonlocal wall, cpu
        links = []
        for item in blocks:
            cpu_begun, begun = time.process_time(), time.perf_counter()
            block = prepared(Block.decode(item.block))
            wall, cpu = wall + time.perf_counter() - begun, cpu + time.process_time() - cpu_begun
            link = batch.append(
                block,
                mode=item.mode,
                certificate=item.certificate,
                epoch=item.epoch,
                writer=WRITER,
                time_us=builder.now_us,
            )
            links.append(link)
        return links[-1]

    builder.linked(store.append_all(body))
    return wall, cpu


def groups(builder: ChainBuilder, transactions: int, per_block: int, per_group: int) -> Iterator[list[Ready]]:
    """The whole workflow as certified blocks, in groups; feed each group to `append` before taking the next.

    Proposers take turns, and all blocks of a group name the head from before it as their parent.
    """
    data = workflow(builder, transactions)
    group: list[Ready] = []
    number = 0
    while part := [item for _, item in zip(range(per_block), data, strict=False)]:
        group.append(ready(builder.quorum(builder.block(number % builder.slots + 1, part))))
        number += 1
        if len(group) == per_group:
            yield group
            group = []
    if group:
        yield group


def generate_chain(
    directory: Path, transactions: int, per_block: int = 500, slots: int = 4, seed: int = 1
) -> ChainBuilder:
    """Write a chain directory that verifies, with ledger, trust root and checkpoint.

    Args:
        directory: of the chain (`ChainLayout`); must not hold one.
        transactions: in all, epochs not counted; at least 2.
        per_block: in each block but the last.
        slots: members; a block's certificate has just a quorum of votes.
        seed: of all keys and names.
    """
    layout = ChainLayout(directory)
    builder, store = start(layout.ledger_dir(WRITER), slots, seed)
    with store:
        for group in groups(builder, transactions, per_block, max(1, 4_000 // per_block)):
            append(store, builder, group)
        with store.view() as view:
            checkpoint = Checkpoint(view.chain_id, view.size, view.root()).sign(builder.storage)
    layout.trust_root.write_text(f"scichain-wf-trust-root-v1 {digest_text(builder.chain)}\n")
    layout.checkpoint.write_text(checkpoint.text())
    return builder
