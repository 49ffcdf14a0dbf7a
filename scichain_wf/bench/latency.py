"""How long one block takes on an idle chain: from its proposal to its link in the tail of every node.

One process emits as many records as make a block through the outbox of one node of a service of real processes, waits
until the link is in every tail, and begins again. Three times are taken for each block: from the first emit, from the
proposal (the block's header says when it was sealed) and from the append (the link says when; the fsync follows).
Tails are watched from outside, so a figure is late by up to the time between two looks.
"""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from scichain_wf import limits
from scichain_wf.bench import load
from scichain_wf.bench.result import Figure, Result, Target
from scichain_wf.errors import PeerError
from scichain_wf.hooks.recorder import Recorder, new_run_id
from scichain_wf.ledger import engine
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.block import Header
from scichain_wf.model.bodies import Kind
from scichain_wf.node import shm

_GROUP: Final = re.compile(rb"align\[sample=b(\d+)-")
_LOOK_S: Final = 100e-6
_TARGETS: Final = {4: (Target(10.0),)}


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure.

    Attributes:
        nodes: agents.
        transactions: of each block.
        blocks: how many, one after another.
        warmup: blocks before those that count.
        pause_s: between two blocks, so that each finds an idle chain.
        seed: makes the records' names differ.
        directory: where the chain is made; None: where temporary files are.
        timeout_s: for each block.
    """

    nodes: int = 4
    transactions: int = limits.BLOCK_TRANSACTIONS_MIN
    blocks: int = 100
    warmup: int = 10
    pause_s: float = 0.02
    seed: int = 1
    directory: Path | None = None
    timeout_s: float = 30.0


def run(options: Options) -> Result:
    """Measure.

    Raises:
        ScichainError: the service cannot be started, or does not commit in time.
    """
    begun_us: list[int] = []
    seen_us: list[int] = []
    with load.service(options.nodes, options.directory) as (service, chain):
        tails = [shm.tail_directory(service.chain, slot) for slot in range(1, options.nodes + 1)]
        recorder = Recorder(service.chain, new_run_id(), service.outboxes[:1], None)
        before_s = load.cpu_seconds(service.pids)
        for block in range(options.warmup + options.blocks):
            if block == options.warmup:
                before_s = load.cpu_seconds(service.pids)
            bodies = [load.body(f"b{block}-{number}", options.seed) for number in range(options.transactions)]
            before = [engine.check_file(tail).transaction for tail in tails]
            begun_us.append(time.time_ns() // 1_000)
            for body in bodies:
                recorder.emit(Kind.TASK, body)
            deadline = time.monotonic() + options.timeout_s
            while any(engine.check_file(tail).transaction == old for tail, old in zip(tails, before, strict=True)):
                if time.monotonic() > deadline:
                    raise PeerError(f"block {block} was not in every tail within {options.timeout_s:.0f} s")
                time.sleep(_LOOK_S)
            seen_us.append(time.time_ns() // 1_000)
            time.sleep(options.pause_s)
        spent_s = {name: after - before_s[name] for name, after in load.cpu_seconds(service.pids).items()}
        service.flush(recorder.run)
        stated = _stated(chain, options)
    # A group that a busy machine tore into two blocks spoils the next one's times, too.
    counted = [n for n in range(options.warmup, len(seen_us)) if n in stated and (n - 1 in stated or n == 0)]
    if not counted:
        raise PeerError("not one group of records became one block: this machine is too busy for this benchmark")
    times = [(begun_us[n] / 1e3, *(at / 1e3 for at in stated[n]), seen_us[n] / 1e3) for n in counted]
    targets = _TARGETS.get(options.nodes, ()) if options.transactions <= limits.BLOCK_TRANSACTIONS_MIN else ()
    return Result(
        "latency",
        asdict(options) | {"directory": str(options.directory or "")},
        (
            Figure("proposal to link in every tail", "ms", [seen - made for _, made, _, seen in times], targets),
            Figure("proposal to append", "ms", [appended - made for _, made, appended, _ in times]),
            Figure("append to link in every tail", "ms", [seen - appended for _, _, appended, seen in times]),
            Figure("first emit to link in every tail", "ms", [seen - begun for begun, _, _, seen in times]),
            *(Figure(f"CPU of {name}", "ms/block", [s / options.blocks * 1e3]) for name, s in sorted(spent_s.items())),
        ),
        (
            "Proposal: the block is sealed and signed. Append: in the transaction that the fsync ends.",
            f"{options.blocks - len(counted)} of {options.blocks} groups of records became more than one block.",
        ),
    )


def _stated(chain: Path, options: Options) -> dict[int, tuple[int, int]]:
    """When each group of records that became one block was proposed and appended, as the chain says."""
    found: dict[int, tuple[int, int]] = {}
    with ChainStore.open(ChainLayout(chain).live_ledger(), readonly=True) as store, store.view() as view:
        for height in range(view.size):
            frame = view.frame(height)
            ends = [_GROUP.search(frame.transaction(index)) for index in (0, frame.count - 1)]
            if frame.count == options.transactions and ends[0] and ends[1] and ends[0][1] == ends[1][1]:
                proposed_us = Header.decode(frame.header).time_us
                found[int(ends[0][1])] = proposed_us, view.link(height).time_us
    return found
