"""How many transactions a second go from `emit` in hook processes to an fsynced link.

Hook processes emit `task` records of about 1 KB through the outboxes of a service of real processes (a storage node
and `nodes` agents, TLS between them, all on this machine) as fast as they can; the clock stops when a flush says that
all of them are committed. What the hooks counted must be what the chain holds, each once. CPU time of each process
per transaction tells what limits, also on a machine that others use.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from scichain_wf.bench import load
from scichain_wf.bench.result import Figure, Result, Target
from scichain_wf.errors import VerificationError
from scichain_wf.hooks.recorder import new_run_id
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.link import Mark

_TARGETS: Final = {1: (Target(20_000, at_least=True),), 4: (Target(10_000, at_least=True),)}


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure.

    Attributes:
        nodes: agents.
        hooks: hook processes.
        transactions: of all hooks together, each time.
        repeats: how often, on one chain that grows.
        warmup: transactions before the clock starts: programs are slow at first (patterns, caches).
        seed: makes the records' names differ.
        directory: where the chain is made; None: where temporary files are.
        timeout_s: for each repeat.
    """

    nodes: int = 4
    hooks: int = 2
    transactions: int = 20_000
    repeats: int = 3
    warmup: int = 5_000
    seed: int = 1
    directory: Path | None = None
    timeout_s: float = 300.0


def run(options: Options) -> Result:
    """Measure.

    Raises:
        VerificationError: the chain does not hold what the hooks emitted, each once.
        ScichainError: the service cannot be started, or does not commit in time.
    """
    rates: list[float] = []
    emitting_us: list[float] = []
    cpu_us: dict[str, list[float]] = {}
    with load.service(options.nodes, options.directory) as (service, chain):
        for number in range(options.repeats + 1):
            count = options.transactions if number else options.warmup
            identity = new_run_id()
            hooks = load.Hooks(service, identity, options.hooks, count, options.seed + number)
            before = load.cpu_seconds(service.pids)
            emitted = hooks.go()
            service.flush(identity, timeout_s=options.timeout_s)
            took_s = (time.monotonic_ns() - min(hook.begun_ns for hook in emitted)) / 1e9
            spent = {name: after - before[name] for name, after in load.cpu_seconds(service.pids).items()}
            _check(chain, identity, count)
            if number:
                rates.append(count / took_s)
                emitting_us.append(sum(hook.cpu_s for hook in emitted) / count * 1e6)
                for name, seconds in spent.items():
                    cpu_us.setdefault(name, []).append(seconds / count * 1e6)
    return Result(
        "commit",
        asdict(options) | {"directory": str(options.directory or "")},
        (
            Figure("emit to fsynced link", "tx/s", rates, _TARGETS.get(options.nodes, ())),
            Figure("CPU of hooks", "µs/tx", emitting_us),
            *(Figure(f"CPU of {name}", "µs/tx", samples) for name, samples in sorted(cpu_us.items())),
            Figure("CPU of all", "µs/tx", [sum(spent) for spent in zip(emitting_us, *cpu_us.values(), strict=True)]),
        ),
        ("Client counts equal chain counts.", "CPU per transaction of the whole run, whoever took it in."),
    )


def _check(chain: Path, run_id: bytes, count: int) -> None:
    """The chain holds `count` transactions of this run, each once."""
    with ChainStore.open(ChainLayout(chain).live_ledger(), readonly=True) as store, store.view() as view:
        found, duplicates = 0, 0
        wanted = run_id.hex().encode()
        for height in range(view.size):
            duplicates += sum(annotation.mark is Mark.DUPLICATE for annotation in view.link(height).annotations)
            found += sum(wanted in data for data in view.frame(height).transactions())
    if (found, duplicates) != (count, 0):
        raise VerificationError(f"of {count} emitted records the chain holds {found}, {duplicates} of them twice")
