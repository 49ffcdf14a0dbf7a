"""What handing a record to the agent costs the process that runs the task.

Hook processes, one at first and then several at once, emit `task` records (whose files are named and hashed already);
another process listens like an agent: it reads the outbox within 2 ms of a bell. Per case: `Recorder.emit`, making the
body before it, and the *floor* of the same moment: spelling the body (orjson) and one `write`, which no hook can do
without. Where more runs than there are cores, wall time counts waiting for one; CPU time (its clock costs half a
microsecond itself) says what emitting takes then.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from scichain_wf import limits
from scichain_wf.bench.measure import start_shielded, timed_us
from scichain_wf.bench.result import Figure, Result, Target
from scichain_wf.client.outbox import BELL, SHARED_MEMORY, OutboxReader, create_outbox, outbox_directory
from scichain_wf.errors import PeerError
from scichain_wf.hooks.recorder import Delivery, Recorder, new_run_id
from scichain_wf.hooks.records import Engine, TaskFacts, task_body
from scichain_wf.model.bodies import Kind

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier

    from scichain_wf.model.canonical import JsonObject

_CHAIN: Final = bytes(range(32))
_ENGINE: Final = Engine("snakemake", "9.27.0")
_FILES: Final = ("reads", "reference", "bam")
_START_S: Final = 0.01
_BEGIN_TIMEOUT_S: Final = 60.0
_WARMUP: Final = 100
_TARGETS: Final = {1: (Target(25.0), Target(150.0, 0.99)), 8: (Target(60.0),)}


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure.

    Attributes:
        records: that each process emits, once by wall time and once by CPU time.
        processes: how many at once, case by case.
        files: inputs of each record, at most 3.
    """

    records: int = 5_000
    processes: tuple[int, ...] = (1, 8)
    files: int = 0


def run(options: Options) -> Result:
    """Measure.

    Raises:
        PeerError: not every record was taken.
        SubmissionError: shared memory cannot be used.
    """
    figures: list[Figure] = []
    for processes in options.processes:
        found = _measured(processes, options)
        several = f"{processes} processes" if processes > 1 else "1 process"
        targets = _TARGETS.get(processes, ()) if not options.files else ()
        for name in found[0]:
            samples = [value for result in found for value in result[name]]
            figures.append(Figure(f"{several}: {name}", "µs", samples, targets if name == "emit" else ()))
    notes = ("emit: from the finished body to the agent's bell.", "floor: orjson and one write of the same body.")
    return Result("emit", asdict(options), tuple(figures), notes)


def _measured(processes: int, options: Options) -> list[dict[str, list[float]]]:
    """Times in each process, in microseconds."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY, prefix="scichain-bench-") as base, _agent(Path(base)) as outbox:
        begin = context.Barrier(processes)
        hooks, pipes = [], []
        try:
            for _ in range(processes):
                pipe, other = context.Pipe(duplex=False)
                hook = context.Process(target=_hook, args=(outbox, options, begin, other), daemon=True)
                start_shielded(hook)
                other.close()
                hooks.append(hook)
                pipes.append(pipe)
            return [_answer(pipe) for pipe in pipes]
        finally:
            for hook in hooks:
                hook.kill()  # it has answered, or its answer is not wanted any more
                hook.join()


def _answer(pipe: Connection) -> dict[str, list[float]]:
    try:
        answer: dict[str, list[float]] | str = pipe.recv()
    except EOFError:
        raise PeerError("a hook process of the benchmark died") from None
    if isinstance(answer, str):
        raise PeerError(f"not every record was taken: {answer}")
    return answer


@contextmanager
def _agent(base: Path) -> Iterator[Path]:
    """An outbox that a process reads; ended at the end."""
    directory = outbox_directory(_CHAIN, 1, base)
    create_outbox(directory)
    agent = multiprocessing.get_context("spawn").Process(target=_listen, args=(directory, os.getpid()), daemon=True)
    start_shielded(agent)
    try:
        while not (directory / BELL).exists():
            if not agent.is_alive():
                raise PeerError("the process that reads the outbox did not start")
            time.sleep(_START_S)
        yield directory
    finally:
        agent.kill()
        agent.join()


def _listen(directory: Path, parent: int) -> None:
    """Be the agent: take in what is there, a little after each bell, for as long as `parent` lives."""
    reader = OutboxReader(directory)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind(os.fspath(directory / BELL))
        bell.settimeout(limits.POLL_S)
        while os.getppid() == parent:
            try:
                bell.recv(1)
                bell.setblocking(False)
                while bell.recv(1):
                    pass
            except (BlockingIOError, TimeoutError):
                bell.settimeout(limits.POLL_S)
            for frame in reader.read():
                reader.remove_drained(frame.path.name)
            time.sleep(limits.BELL_S)


def _hook(directory: Path, options: Options, begin: Barrier, answer: Connection) -> None:
    """One hook process."""
    records = options.records
    recorder = Recorder(_CHAIN, new_run_id(), [directory], None)
    facts = _facts(options.files)
    body = task_body(_ENGINE, facts, "node1", "user")
    warmup = min(_WARMUP, records)
    timed_us(lambda: recorder.emit(Kind.TASK, body, facts.task), warmup)
    begin.wait(_BEGIN_TIMEOUT_S)
    with tempfile.TemporaryFile(dir=directory) as file:
        fd = file.fileno()
        floor = timed_us(lambda: os.write(fd, orjson.dumps(body, option=orjson.OPT_SORT_KEYS)), records)
    made = timed_us(lambda: task_body(_ENGINE, facts, "node1", "user"), records)
    emitted = timed_us(lambda: recorder.emit(Kind.TASK, body, facts.task), records)
    cpu = timed_us(lambda: recorder.emit(Kind.TASK, body, facts.task), records, time.thread_time_ns)
    if recorder.count(Kind.TASK, Delivery.OUTBOX) != 2 * records + warmup:
        answer.send("; ".join(recorder.problems) or "no reason is known")
    else:
        answer.send({"emit": emitted, "emit, CPU": cpu, "body": made, "floor": floor})


def _facts(files: int) -> TaskFacts:
    """One attempt of a task with so many inputs."""
    inputs: list[JsonObject] = [
        {"uri": f"work:{'0' * 16}/data/{name}", "role": name, "state": "file", "digest": f"sha256:{'0' * 64}",
         "size_bytes": 1_000_000, "mtime_us": 1}
        for name in _FILES[:files]
    ]  # fmt: skip
    return TaskFacts(
        "align", "align[sample=a]", inputs=inputs, wildcards={"sample": "a"}, started_us=1, ended_us=2,
        command="bwa mem -t 8 data/reference data/reads | samtools sort -o data/bam", exit_status=0,
    )  # fmt: skip
