"""Storage nodes that sleep past their lease. `python -m tests.integration.sleeps --seeds 20 --first 0` does many.

A storage process is stopped at a random point of its work, its successor takes over under load, and it is woken at a
random point of that. Whoever writes publishes: every checkpoint that was ever seen beside the chain has to be of one
history, and the numbers of the writers in it only grow.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from scichain_wf.client.service import Service, start
from scichain_wf.errors import DecodeError, PeerError
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.transaction import Transaction
from tests.integration.service_kit import (
    Records,
    assert_committed_once,
    assert_verifies,
    emit,
    is_alive,
    running,
    wait_until,
)

LEASE_S: Final = 0.6


@contextmanager
def emitting(service: Service, records: Records) -> Iterator[list[Transaction]]:
    """Tasks, one by one, as fast as the outbox takes them; the list grows."""
    emitted: list[Transaction] = []
    end = threading.Event()

    def run() -> None:
        while not end.wait(0.002):
            record = records.task(f"load{len(emitted)}")
            emit(service, [record])
            emitted.append(record)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield emitted
    finally:
        end.set()
        thread.join()


@contextmanager
def watching(path: Path) -> Iterator[dict[int, Checkpoint]]:
    """Every checkpoint that is seen at `path`, by its size; two of one size must be the same."""
    seen: dict[int, Checkpoint] = {}
    forks: list[Checkpoint] = []
    end = threading.Event()

    def run() -> None:
        while not end.wait(0.001):
            with suppress(OSError, DecodeError):
                note = Checkpoint.parse(path.read_bytes())
                if seen.setdefault(note.size, note).root != note.root:
                    forks.append(note)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield seen
    finally:
        end.set()
        thread.join()
    assert not forks, "two histories were published"


def stopped_under_load(chain: Path, seed: int) -> tuple[Service, list[Transaction]]:
    """A service whose storage process was stopped at a random point of its work; and what it was given."""
    service = start(chain, 1, lease_s=LEASE_S)
    records = Records(service.chain)
    with emitting(service, records) as emitted:
        threading.Event().wait(random.Random(seed).uniform(0.05, 0.5))
        os.kill(service.pids["storage"], signal.SIGSTOP)
        tasks = Path(f"/proc/{service.pids['storage']}/task")
        wait_until(lambda: all(_is_stopped(task / "stat") for task in tasks.iterdir()), "stop of every thread")
    return service, emitted


def _is_stopped(stat: Path) -> bool:
    return stat.read_text().rpartition(")")[2].split()[0] == "T"


def woken(service: Service) -> None:
    """It wakes up, says why it ends, and ends with code 3."""
    os.kill(service.pids["storage"], signal.SIGCONT)
    with pytest.raises(PeerError, match=r"writer \d\) was not heard of for .*writer \d\) took over"):
        service.flush(bytes(16))
    with pytest.raises(PeerError, match="ended with code 3"):
        service.stop()
    for name, pid in service.pids.items():
        wait_until(lambda pid=pid: not is_alive(pid), f"end of {name}")  # type: ignore[misc]


def run_sleep(chain: Path, seed: int) -> str:
    """One storage node that sleeps and its successor, under load; returns what happened in words."""
    chance, layout = random.Random(~seed), ChainLayout(chain)
    with watching(layout.checkpoint) as published:
        stopped, first = stopped_under_load(chain, seed)
        promised = layout.checkpoint.read_bytes()
        with running(chain, 2) as service:
            records = Records(service.chain)
            with emitting(service, records) as second:
                threading.Event().wait(chance.uniform(0, 0.5))
                woken(stopped)
            service.flush(records.run)
    assert_committed_once(chain, first + second)
    assert_verifies(chain, promised)
    assert sorted(path.name for path in layout.ledgers.iterdir()) == ["00000001", "00000002"]
    with ChainStore.open(layout.live_ledger(), readonly=True) as store, store.view() as view:
        assert all(view.root(size) == note.root for size, note in published.items())
    writers = writers_of_links(chain)
    assert writers == sorted(writers)
    assert set(writers) == {0, 1, 2}
    kept, size = writers.count(1), len(writers)
    return (
        f"seed {seed}: {len(first)} + {len(second)} tasks, each committed once, in {size} links, {kept} of them of the "
        f"sleeper; {len(published)} checkpoints seen, all of one history"
    )


def writers_of_links(chain: Path) -> list[int]:
    """Writer epoch of each link."""
    with ChainStore.open(ChainLayout(chain).live_ledger(), readonly=True) as store, store.view() as view:
        return [view.link(height).writer for height in range(view.size)]


def main() -> None:
    """Run it by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    for seed in range(options.first, options.first + options.seeds):
        with tempfile.TemporaryDirectory() as directory:
            os.environ["XDG_STATE_HOME"] = directory
            print(run_sleep(Path(directory, "chain"), seed), flush=True)


if __name__ == "__main__":
    main()
