"""The load of the benchmarks of a running chain: a service of real processes, and hook processes that emit into it."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from scichain_wf.bench.measure import start_shielded
from scichain_wf.client.service import Service, start
from scichain_wf.crypto.hashing import sha256
from scichain_wf.errors import PeerError
from scichain_wf.hooks.recorder import Delivery, Recorder
from scichain_wf.hooks.records import Engine, TaskFacts, task_body
from scichain_wf.model.bodies import Kind
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.text import digest_text
from scichain_wf.model.transaction import RunId

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue
    from multiprocessing.synchronize import Event, Semaphore

_ENGINE: Final = Engine("bench", "1")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
GATE_TIMEOUT_S: Final = 60.0


def body(name: str, seed: int) -> JsonObject:
    """One task that reads a file from outside and writes one: a transaction of 1 KB."""
    facts = TaskFacts(
        "align", f"align[sample={name}]", started_us=1, ended_us=2, exit_status=0, command=f"align {name}.fastq",
        inputs=[_artifact(f"samples/{seed}/{name}.fastq", "reads") | {"origin": "source"}],
        outputs=[_artifact(f"results/{name}.bam", "aligned")], wildcards={"sample": name},
    )  # fmt: skip
    return task_body(_ENGINE, facts, "node1", "user")


def _artifact(path: str, role: str) -> JsonObject:
    digest = digest_text(sha256(path.encode()))
    uri = f"work:{'0' * 16}/{path}"
    return {"uri": uri, "role": role, "state": "file", "digest": digest, "size_bytes": 1_000_000, "mtime_us": 1}


@contextmanager
def service(nodes: int, directory: Path | None) -> Iterator[tuple[Service, Path]]:
    """A service on a new chain below `directory` (default: the directory for temporary files); gone at the end."""
    with tempfile.TemporaryDirectory(prefix="scichain-bench-", dir=directory) as base:
        chain = Path(base, "chain")
        running = start(chain, nodes)
        try:
            yield running, chain
        finally:
            running.stop()


class Emitted(NamedTuple):
    """When one hook process began to emit (monotonic clock), and the CPU time it took."""

    begun_ns: int
    cpu_s: float


class Hooks:
    """Hook processes that wait to emit `count` tasks together."""

    def __init__(self, service: Service, run: RunId, processes: int, count: int, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._gate, ready = context.Event(), context.Semaphore(0)
        self._results: SimpleQueue[Emitted | str] = context.SimpleQueue()
        shares = [len(range(number, count, processes)) for number in range(processes)]
        self._processes = [
            context.Process(
                target=_hook,
                args=(service.chain, run, service.outboxes, number, share, seed, ready, self._gate, self._results),
                daemon=True,
            )
            for number, share in enumerate(shares)
        ]
        try:
            for process in self._processes:
                start_shielded(process)
            for _ in self._processes:
                if not ready.acquire(timeout=GATE_TIMEOUT_S):
                    raise PeerError("a hook process of the benchmark did not start")
        except BaseException:
            self._end()
            raise

    def go(self) -> list[Emitted]:
        """Let them emit and wait until they have; an error in one of them ends the benchmark."""
        self._gate.set()
        found: list[Emitted] = []
        try:
            for _ in self._processes:
                result = self._results.get()
                if isinstance(result, str):
                    raise PeerError(f"a hook process of the benchmark failed: {result}")
                found.append(result)
        finally:
            self._end()
        return found

    def _end(self) -> None:
        for process in self._processes:
            if process.pid is not None:
                process.kill()  # it has answered, or nobody wants its records any more
                process.join()


def _hook(
    chain: bytes,
    run: RunId,
    outboxes: list[Path],
    number: int,
    count: int,
    seed: int,
    ready: Semaphore,
    gate: Event,
    results: SimpleQueue[Emitted | str],
) -> None:
    recorder = Recorder(chain, run, outboxes, None)
    bodies = [body(f"h{number}-{task:07}", seed) for task in range(count)]
    ready.release()
    gate.wait()
    cpu_s, begun_ns = time.process_time(), time.monotonic_ns()
    for task, made in enumerate(bodies):
        recorder.emit(Kind.TASK, made, str(task))
    cpu_s = time.process_time() - cpu_s
    if recorder.count(Kind.TASK, Delivery.OUTBOX) != count:
        results.put(f"not every record was taken: {recorder.problems}")
    else:
        results.put(Emitted(begun_ns, cpu_s))


def cpu_seconds(pids: dict[str, int]) -> dict[str, float]:
    """CPU time that each process has used."""
    return {name: _cpu_s(pid) for name, pid in pids.items()}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
