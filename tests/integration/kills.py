"""Random kills under load. `python -m tests.integration.kills --kills 200 --seed 1` does more than CI has time for.

Hooks in processes of their own emit tasks without a pause; meanwhile hooks, agents, the storage process and its
supervisor are killed at random moments. A hook notes in a file what was taken from it, after `emit` returned; at the
end each of these is on the chain exactly once. Killed in between, a hook leaves one task that may be there or not.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from scichain_wf.client.service import Service, start
from scichain_wf.errors import PeerError
from scichain_wf.hooks.recorder import Delivery, Recorder
from scichain_wf.ledger.fsck import fsck
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.bodies import Kind
from scichain_wf.model.transaction import RunId, Transaction
from tests.integration.service_kit import Records, assert_verifies, committed, is_alive, supervisor_of, wait_until

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

NODES, HOOKS = 3, 3
PAUSE_S = 0.05
"""Between two tasks of a hook."""
FLUSH_S = 120.0
SERVICE = ["storage", *(f"slot-{slot}" for slot in range(1, NODES + 1))]
VICTIMS = [*SERVICE, "hook", "hook", "hook", "supervisor"]


def hook(number: int, service: Service, run: bytes, note: Path, told: Connection) -> None:
    """One hook process: tasks until it is told to end. `note` gets a line for each that was taken, or a complaint."""
    recorder = Recorder(service.chain, RunId(run), service.outboxes, service.spool)
    records = Records(service.chain)
    notes = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    parent, count = os.getppid(), 0
    while not told.poll(PAUSE_S) and os.getppid() == parent:
        task = records.task(f"hook{number}-{count}")
        if recorder.emit(Kind.TASK, task.body, affinity=str(count)) is Delivery.LOST:
            os.write(notes, f"lost: {recorder.problems}\n".encode())
        else:
            os.write(notes, f"{task.body['task']}\n".encode())
        count += 1


class Drill:
    """A service under load, and what is done to it.

    Args:
        chain: directory of the chain, which is made.
        notes: directory for what hooks note.
        seed: of all that is random.
    """

    def __init__(self, chain: Path, notes: Path, seed: int) -> None:
        self._chain, self._notes, self._chance = chain, notes, random.Random(seed)
        self._context = multiprocessing.get_context("fork")
        self._hooks: dict[int, tuple[multiprocessing.process.BaseProcess, Connection]] = {}
        self._begun = 0
        self.killed_hooks: set[int] = set()
        self.service = start(chain, NODES)
        self.run = Records(self.service.chain).run
        for _ in range(HOOKS):
            self._begin_hook()

    def kill(self, victims: Counter[str], kills: int) -> None:
        """Kill so many processes, each when what died before is up again; counts whom how often."""
        deck: list[str] = []
        for _ in range(kills):
            time.sleep(self._chance.uniform(0.0, 0.4))
            deck = deck or self._chance.sample(VICTIMS, len(VICTIMS))
            name = deck.pop()
            victims[name] += 1
            if name == "hook":
                self._kill_hook()
            elif name == "supervisor":
                self._kill_supervisor()
            else:
                self._kill_process(name)

    def end(self) -> tuple[list[str], list[str]]:
        """Everything is committed and the service has ended; what hooks noted, and what they complained of."""
        self.end_hooks()
        self.service.flush(self.run, timeout_s=FLUSH_S)
        self.service.stop()
        lines = [line for path in self._notes.iterdir() for line in path.read_text().splitlines()]
        return [line for line in lines if " " not in line], [line for line in lines if " " in line]

    def end_hooks(self) -> None:
        """No hook is left."""
        for process, pipe in self._hooks.values():
            pipe.send("end")
            process.join()
        self._hooks.clear()

    def _begin_hook(self) -> None:
        ours, theirs = self._context.Pipe()
        note = self._notes / str(self._begun)
        process = self._context.Process(target=hook, args=(self._begun, self.service, self.run, note, theirs))
        process.start()
        self._hooks[self._begun] = (process, ours)
        self._begun += 1

    def _kill_hook(self) -> None:
        number = self._chance.choice(sorted(self._hooks))
        process, _ = self._hooks.pop(number)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        self.killed_hooks.add(number)
        self._begin_hook()

    def _kill_process(self, name: str) -> None:
        service, before = self.service, self.service.pids[name]

        def is_new() -> bool:
            service.poll()
            return service.pids[name] != before

        with contextlib.suppress(ProcessLookupError):  # it ended with the storage process, or was not started yet
            os.kill(before, signal.SIGKILL)
        wait_until(is_new, f"another {name} after {before}", 60)

    def _kill_supervisor(self) -> None:
        """Sometimes its storage process dies with it; else that one serves on, until it is told to end."""
        service = self.service
        os.kill(supervisor_of(service), signal.SIGKILL)
        if self._chance.random() < 0.5:
            os.kill(service.pids["storage"], signal.SIGKILL)
        with contextlib.suppress(PeerError):
            service.stop()
        for name, pid in service.pids.items():
            wait_until(lambda pid=pid: not is_alive(pid), f"end of {name}", 60)  # type: ignore[misc]
        self.service = start(self._chain, NODES)


def run_kills(chain: Path, seed: int, kills: int) -> str:
    """One run with `kills` kills; returns what happened in words. Asserts that nothing is lost and nothing doubled."""
    victims: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as notes:
        drill = Drill(chain, Path(notes), seed)
        try:
            drill.kill(victims, kills)
        finally:
            drill.end_hooks()
        acknowledged, complaints = drill.end()
    assert not complaints, complaints
    assert len(acknowledged) == len(set(acknowledged))
    found = Counter(committed_tasks(chain))
    assert not [task for task in acknowledged if found[task] != 1], "acknowledged, and not on the chain exactly once"
    unnoted = sorted(found.keys() - set(acknowledged))
    assert max(found.values()) == 1
    assert set(unnoted) <= set(in_flight(acknowledged, drill.killed_hooks)), unnoted
    assert all(len(places) == 1 for places in committed(chain).values())
    assert fsck(chain).sound
    assert_verifies(chain)
    whom = ", ".join(f"{name} {count}" for name, count in sorted(victims.items()))
    return (
        f"seed {seed}: {kills} kills ({whom}), {len(acknowledged)} tasks acknowledged, each committed once; "
        f"{len(unnoted)} more of hooks that were killed before they noted it"
    )


def in_flight(acknowledged: list[str], hooks: set[int]) -> Iterator[str]:
    """What each of these hooks was about to note when it died."""
    counts = Counter(task.partition("-")[0] for task in acknowledged)
    for number in hooks:
        yield f"hook{number}-{counts[f'hook{number}']}"


def committed_tasks(chain: Path) -> list[str]:
    """Names of the tasks on the chain, one per place."""
    names = []
    with ChainStore.open(ChainLayout(chain).live_ledger(), readonly=True) as store, store.view() as view:
        for height in range(view.size):
            duplicates = {a.index for a in view.link(height).annotations if a.mark == "duplicate"}
            frame = view.frame(height)
            records = (Transaction.decode(frame.transaction(i)) for i in range(frame.count) if i not in duplicates)
            names += [str(record.body["task"]) for record in records if record.kind == Kind.TASK]
    return names


def main() -> None:
    """Run it by hand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        os.environ["XDG_STATE_HOME"] = directory
        print(run_kills(Path(directory, "chain"), options.seed, options.kills), flush=True)


if __name__ == "__main__":
    main()
