"""Nodes and agents killed at random moments, by hand: `python -m tests.e2e.parsl_kills [KILLS] [SEED]`.

Two nodes of a NodeExecutor run tasks all the while. In the end every task has its result, every result its record, and
the chain verifies. An agent that died too often in a row is not started again: what it held waits for the next run, so
there is one. Works in a new directory below the current one, which stays.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import parsl
from parsl import File, bash_app
from parsl.providers import LocalProvider

from scichain_parsl import NodeExecutor, scichain_config, traced

PAUSE_S = 3.0
AT_ONCE = 8


@traced
@bash_app
def writes(number: int, outputs: Any = ()) -> str:
    return f"sleep 0.0{number % 10}; echo {number} > {outputs[0].filepath}"


def agents() -> list[int]:
    """Process ids of all agents of this session's service and nodes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            is_agent = path.read_text().startswith("scichain-slot-")
            here = os.readlink(path.parent / "cwd") == str(Path.cwd())
        except OSError:
            continue
        found += [int(path.parent.name)] if is_agent and here else []
    return found


def kill(nodes: NodeExecutor, kills: int, chance: random.Random, done: threading.Event, killed: Counter[str]) -> None:
    """Kill a node or an agent, again and again, from the first agent's begin on."""
    while killed.total() < kills:
        time.sleep(chance.uniform(0.1, PAUSE_S))
        ready = [node.pid for node in nodes._nodes() if node.workers]
        what, among = chance.choice([("node", ready), ("agent", agents()), ("agent", agents())])
        if among:
            try:
                os.kill(chance.choice(among), signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed[what] += 1
    done.set()


def main(kills: int, seed: int) -> int:
    """Returns 0 if nothing was lost."""
    os.chdir(here := Path(tempfile.mkdtemp(prefix="kills-", dir=Path.cwd())))
    provider: Any = LocalProvider(init_blocks=2, min_blocks=2, max_blocks=2)  # type: ignore[no-untyped-call]
    nodes = NodeExecutor("nodes", provider, workers_per_node=2, block_error_handler=False)
    settings: dict[str, Any] = {"executors": [nodes], "retries": 50, "usage_tracking": 0, "strategy_period": 0.5}
    done, killed, number = threading.Event(), Counter[str](), 0
    failed: list[str] = []
    with parsl.load(scichain_config(**settings)):
        killer = threading.Thread(target=kill, args=(nodes, kills, random.Random(seed), done, killed))
        killer.start()
        while not done.is_set():
            batch = range(number, number + AT_ONCE)
            futures = [writes(name, outputs=[File(str(here / f"{name}.txt"))]) for name in batch]
            failed += [str(error) for future in futures if (error := future.exception()) is not None]
            number += AT_ONCE
        killer.join()
    ours = [sys.executable, "-m", "scichain_wf"]
    subprocess.run([*ours, "run", "--", "true"], check=True)
    listed, _ = json.loads(subprocess.check_output([*ours, "runs", "list", "--json"]))["runs"]
    shown = json.loads(subprocess.check_output([*ours, "runs", "show", listed["run"], "--json"]))
    ended = {task["task"] for task in shown["tasks"] if task["status"] == "ok"}
    tries = Counter((task["task"], task["attempt"]) for task in shown["tasks"])
    verdict = subprocess.run([*ours, "verify"], stdout=subprocess.DEVNULL, check=False).returncode
    lost = number - len(ended)
    print(f"{here}: seed {seed}, {dict(killed)} killed, {number} tasks, {len(failed)} failed, {lost} without a record, "
          f"{sum(count > 1 for count in tries.values())} tries recorded twice, verify {verdict}")
    return int(bool(failed or lost or verdict))


if __name__ == "__main__":
    asked = [int(number) for number in sys.argv[1:]]
    sys.exit(main(*asked[:1] or [50], *asked[1:2] or [1]))
