"""Consensus under Parsl, by hand: `python -m tests.slurm.parsl_consensus [TASKS]`, in a new directory that stays.

Three nodes of a NodeExecutor on a Slurm allocation vote with the agent beside the main process: four slots, three
certify. First TASKS tasks that do nothing run, without being recorded and recorded (that is what consensus *off* and
*on* compares). Then tasks run on and on, while the nodes' agents are cut off from one another, though not from the main
process, and healed again: told by the links of each slot's blocks, quorum gives way to POET and comes back.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from scichain_wf.errors import LedgerBusy
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.epoch import Epoch
from scichain_wf.model.link import Mode
from scichain_wf.model.transaction import Transaction
from tests.slurm.kit import RUN_TIMEOUT_S, Work, cluster
from tests.testbed.cluster import environment

NODES = 3
TASKS = 2_000
BLOCKS = 3
"""How many blocks of each node's slot have to show a phase."""
LOOK_S = 0.5
STOP = "stop"


class Linked(NamedTuple):
    """One block: slot, how it was certified, when it was sealed and linked, and when its records were emitted."""

    slot: int
    mode: Mode
    sealed_us: int
    linked_us: int
    emitted_us: tuple[int, ...]


def program(tasks: int) -> None:
    """In the main process: prints what it measured, and runs tasks until it is told to stop."""
    import parsl
    from parsl import python_app
    from parsl.config import Config
    from parsl.launchers import SrunLauncher
    from parsl.providers import SlurmProvider

    from scichain_parsl import NodeExecutor, scichain_config, traced

    def nothing() -> None: ...

    for is_on in (False, True):
        provider: Any = SlurmProvider(
            "debug",
            nodes_per_block=NODES,
            init_blocks=1,
            max_blocks=1,
            walltime="00:20:00",
            exclusive=False,
            launcher=SrunLauncher(),
        )
        nodes = NodeExecutor("nodes", provider, address="eth0", workers_per_node=1)
        settings: dict[str, Any] = {"executors": [nodes], "usage_tracking": 0, "strategy": "none"}
        app: Any = traced(python_app(nothing)) if is_on else python_app(nothing)
        with parsl.load(scichain_config(**settings) if is_on else Config(**settings)):
            while sum(node.workers > 0 for node in nodes._nodes()) < NODES:
                time.sleep(LOOK_S)
            begun_s = time.time()
            for future in [app() for _ in range(tasks)]:
                future.result()
            print(json.dumps({"on": is_on, "begun_s": begun_s, "ended_s": time.time()}), flush=True)
            while is_on and not Path(STOP).exists():
                for future in [app() for _ in range(4 * NODES)]:
                    future.result()
        parsl.clear()


class Watch:
    """What is on a chain but for membership, read on while it grows.

    Attributes:
        blocks: in their order, with the slot whose key made each.
    """

    def __init__(self, chain: Path) -> None:
        self._chain, self._slots, self._size = chain, dict[bytes, int](), 0
        self.blocks: list[Linked] = []

    def look(self) -> None:
        """Read what is new."""
        with (
            suppress(LedgerBusy),  # what is left is read with the next look
            ChainStore.open(ChainLayout(self._chain).live_ledger(), readonly=True) as store,
            store.view() as view,
        ):
            for height in range(self._size, view.size):
                link, header, count = view.link(height), view.header(height), view.frame(height).count
                records = [Transaction.decode(view.transaction((height, index))) for index in range(count)]
                if link.mode is Mode.EPOCH:
                    members = Epoch.from_body(records[0].body).members
                    self._slots.update((member.key.fingerprint, member.slot) for member in members if member.key)
                else:
                    emitted = tuple(record.time_us for record in records)
                    slot = self._slots[header.proposer]
                    self.blocks.append(Linked(slot, link.mode, header.time_us, link.time_us, emitted))
                self._size = height + 1

    def until(self, mode: Mode, since: int) -> int:
        """Wait until each node's slot has BLOCKS of this mode after the first `since`; how many there are then."""
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while time.monotonic() < deadline:
            self.look()
            shown = [block.slot for block in self.blocks[since:] if block.mode is mode]
            if all(shown.count(slot) >= BLOCKS for slot in range(2, NODES + 2)):
                return len(self.blocks)
            time.sleep(LOOK_S)
        raise AssertionError(f"not every node had {BLOCKS} blocks by {mode} within {RUN_TIMEOUT_S:.0f} s")


def main(tasks: int) -> int:
    """Returns 0 if each node's blocks went from quorum to POET and back, and the chain verifies."""
    import scichain_parsl

    place = Path(tempfile.mkdtemp(prefix="consensus-", dir=Path.cwd()))
    with cluster(place, nodes=NODES + 1) as (bed, _):
        head, *hosts = bed.nodes
        work = bed.shared / "work"
        work.mkdir()
        variables = environment()
        root = Path(__file__).resolve().parents[2]
        variables["PYTHONPATH"] += f":{Path(scichain_parsl.__file__).parents[1]}:{root}"
        code = f"import os; os.chdir({str(work)!r}); from tests.slurm.parsl_consensus import program; program({tasks})"
        with (place / "errors").open("w") as errors, (place / "said").open("w") as said:
            running = head.popen([sys.executable, "-c", code], environment=variables, stdout=said, stderr=errors)
            while (place / "said").read_text().count("\n") < 2:
                assert running.popen.poll() is None, (place / "errors").read_text()
                time.sleep(LOOK_S)
            watch = Watch(work / ".scichain")
            whole = watch.until(Mode.QUORUM, 0)
            for host in hosts:
                bed.partition([host], [other for other in hosts if other is not host])
            cut = watch.until(Mode.POET, whole)
            bed.heal()
            healed = watch.until(Mode.QUORUM, cut)
            (work / STOP).touch()
            code_ = running.wait(RUN_TIMEOUT_S)
        off, on = [json.loads(line) for line in (place / "said").read_text().splitlines()]
        verdict = Work(head, work).scichain("verify")["verdict"]
        watch.look()
        report(tasks, off, on, watch.blocks, (whole, cut, healed))
    print(f"{place}: exit code {code_}, verify: {verdict}")
    return code_ or int(verdict != "VERIFIED")


def report(
    tasks: int, off: dict[str, float], on: dict[str, float], blocks: list[Linked], ends: tuple[int, ...]
) -> None:
    """What was found, in lines."""
    for name, span in (("off", off), ("on", on)):
        print(f"consensus {name}: {tasks / (span['ended_s'] - span['begun_s']):.0f} tasks/s")
    busy = [block for block in blocks if on["begun_s"] <= block.sealed_us / 1e6 <= on["ended_s"]]
    for name, times_us in (
        ("a block from its seal to its link", [block.linked_us - block.sealed_us for block in busy]),
        ("a record from its emit to its link", [block.linked_us - at for block in busy for at in block.emitted_us]),
    ):
        times_ms = sorted(time_us / 1e3 for time_us in times_us)
        middle, late, most = statistics.median(times_ms), times_ms[len(times_ms) * 99 // 100], times_ms[-1]
        print(f"{name}: median {middle:.0f} ms, 99 % {late:.0f} ms, most {most:.0f} ms, of {len(times_ms)}")
    for name, begin, end in zip(("whole", "cut", "healed"), (0, *ends), ends, strict=False):
        modes = {slot: [str(block.mode) for block in blocks[begin:end] if block.slot == slot] for slot in range(1, 5)}
        shown = {slot: f"{found.count('quorum')} quorum, {found.count('poet')} POET" for slot, found in modes.items()}
        print(f"{name}: {shown}")


if __name__ == "__main__":
    sys.exit(main(*[int(number) for number in sys.argv[1:2]] or [TASKS]))
