"""Random kills under load. `python -m tests.integration.kills --kills 200 --seed 1` does more than CI has time for.

Hooks in processes of their own append tasks without a pause; meanwhile storage process and agents are killed at random
moments. Every hook notes what it handed over; at the end each of these is on the chain exactly once.
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
from pathlib import Path
from typing import TYPE_CHECKING

from scichain_wf.client.service import Service, start
from scichain_wf.hooks.recorder import Delivery, Recorder
from scichain_wf.ledger.fsck import fsck
from scichain_wf.model.bodies import Kind
from scichain_wf.model.transaction import RunId, Transaction
from tests.integration.service_kit import Records, assert_verifies, committed, wait_until

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

NODES, HOOKS = 3, 2
PAUSE_S = 0.02
"""Between two tasks of a hook."""
FLUSH_S = 120.0


def hook(number: int, service: Service, run: bytes, told: Connection) -> None:
    """One hook process: tasks until it is told to end, then the ids of what it handed over and what it could not."""
    recorder = Recorder(service.chain, RunId(run), service.outboxes, service.spool)
    records = Records(service.chain)
    bodies: list[object] = []
    sent: list[str] = []
    parent = os.getppid()
    while not told.poll(PAUSE_S) and os.getppid() == parent:
        task = records.task(f"hook{number}-{len(bodies)}")
        bodies.append(task)
        if recorder.emit(Kind.TASK, task.body, affinity=str(len(bodies))) is not Delivery.LOST:
            sent.append(str(task.body["task"]))
    told.send((sent, recorder.problems))


def killed(service: Service, chance: random.Random, kills: int) -> Counter[str]:
    """Kill so many processes of the service, each when it is up again after the last; returns whom how often."""
    victims: Counter[str] = Counter()
    for _ in range(kills):
        time.sleep(chance.uniform(0.0, 0.4))
        name = chance.choice(["storage", *(f"slot-{slot}" for slot in range(1, NODES + 1))])
        before = service.pids[name]

        def is_new(name: str = name, before: int = before) -> bool:
            service.poll()
            return service.pids[name] != before

        with contextlib.suppress(ProcessLookupError):  # it ended with the storage process, or was not started yet
            os.kill(before, signal.SIGKILL)
        victims[name] += 1
        wait_until(is_new, f"another {name} after {before}", 60)
    return victims


def run_kills(chain: Path, seed: int, kills: int) -> str:
    """One run with `kills` kills; returns what happened in words. Asserts that nothing is lost and nothing doubled."""
    chance = random.Random(seed)
    service = start(chain, NODES)
    context = multiprocessing.get_context("fork")
    run = Records(service.chain).run
    hooks = []
    for number in range(HOOKS):
        ours, theirs = context.Pipe()
        process = context.Process(target=hook, args=(number, service, run, theirs))
        process.start()
        hooks.append((process, ours))
    try:
        victims = killed(service, chance, kills)
    finally:
        for _, pipe in hooks:
            pipe.send("end")
        notes = [pipe.recv() for _, pipe in hooks]
        for process, _ in hooks:
            process.join()
    service.flush(run, timeout_s=FLUSH_S)
    service.stop()
    acknowledged = [task for sent, _ in notes for task in sent]
    assert not [problem for _, problems in notes for problem in problems], notes
    found = Counter(committed_tasks(chain))
    assert len(acknowledged) == len(set(acknowledged))
    assert not [task for task in acknowledged if found[task] != 1], "acknowledged, and not on the chain exactly once"
    assert all(len(places) == 1 for places in committed(chain).values())
    assert fsck(chain).sound
    assert_verifies(chain)
    whom = ", ".join(f"{name} {count}" for name, count in sorted(victims.items()))
    return f"seed {seed}: {kills} kills ({whom}), {len(acknowledged)} tasks, each committed once"


def committed_tasks(chain: Path) -> list[str]:
    """Names of the tasks on the chain, one per place."""
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.ledger.store import ChainStore

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
