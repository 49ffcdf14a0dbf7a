"""A storage process for the crash tests: appends prepared blocks, acknowledges each commit, and publishes its phase.

Started by `store_crash` with a JSON object on its first line of input; says `ready`, waits for a line, works, and says
`done`. Ends with 3 after a LedgerError, with 5 if an acknowledgement could not be written; any other end is a bug.
"""

from __future__ import annotations

import json
import mmap
import os
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

from scichain_wf import limits
from scichain_wf.errors import LedgerError
from scichain_wf.ledger import store as store_module
from scichain_wf.ledger.prepared import prepared
from scichain_wf.ledger.store import AppendBatch, ChainStore
from scichain_wf.model.block import Block
from scichain_wf.model.link import Link, Mode

IDLE, PUT, COMMIT = 0, 1, 2
BASE = 3
"""Links that a chain has before the first of the prepared blocks."""


def append(batch: AppendBatch, candidate: tuple[bytes, bytes, int]) -> Link:
    """The link follows from the block alone: every run makes the same chain."""
    data, certificate, epoch = candidate
    block = prepared(Block.decode(data))
    marks = batch.repeats(block)
    return batch.append(
        block, mode=Mode.QUORUM, certificate=certificate, epoch=epoch, annotations=marks, writer=1, time_us=batch.size
    )


def say(line: str) -> None:
    try:
        os.write(1, line.encode() + b"\n")
    except OSError:
        os._exit(5)


def work(directory: Path, candidates: list[Any], genesis: Block, task: dict[str, Any], phase: Any) -> None:
    """Append what is missing, `batch` blocks a commit, up to `until` of them; then copy and create where asked."""
    with ChainStore.open(directory) as store:
        with store.view() as view:
            done = view.size - BASE
        until = min(len(candidates), done + task["count"])
        while done < until:
            group = candidates[done : min(until, done + task["batch"])]

            def body(batch: AppendBatch, group: list[Any] = group) -> None:
                phase[0] = PUT
                for candidate in group:
                    append(batch, candidate)
                phase[0] = COMMIT

            store.append_all(body)
            phase[0] = IDLE
            done += len(group)
            say(str(done + BASE))
        if task["copy"]:
            store.snapshot(directory.parent / task["copy"])
            say("copied")
    if task["create"]:
        ChainStore.create(directory.parent / task["create"], genesis).close()
        say("created")


def main() -> None:
    task = json.loads(sys.stdin.readline())
    if task["small_map"]:
        limits.MAP_BYTES_START = 1 << 18  # type: ignore[misc]  # so that it grows in every run
        store_module._RESERVE_BYTES = 0  # type: ignore[misc]
    genesis = Block.decode(Path(task["genesis"]).read_bytes())
    candidates = pickle.loads(Path(task["candidates"]).read_bytes())  # noqa: S301 - the parent wrote it
    with tempfile.TemporaryDirectory() as temporary:  # everything once, so that nothing is imported later
        rehearsal = Path(temporary, "rehearsal")
        with ChainStore.create(rehearsal, genesis) as store:
            store.snapshot(Path(temporary, "copy"))
            with store.view() as view:
                view.root()
    with Path(task["phase"]).open("r+b") as file, mmap.mmap(file.fileno(), 1) as phase:
        say("ready")
        sys.stdin.readline()
        try:
            work(Path(task["directory"]), candidates, genesis, task, phase)
            say("done")
            os._exit(0)  # at once, like the other ends: what Python does on leaving is not under test
        except LedgerError as error:
            say(f"{type(error).__name__}: {error}")
            os._exit(3)


if __name__ == "__main__":
    main()
