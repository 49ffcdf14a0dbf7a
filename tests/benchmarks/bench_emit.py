"""What handing a record to the agent costs the process that runs the task.

    python -m tests.benchmarks.bench_emit
    python -m tests.benchmarks.bench_emit --records 50000 --json emit.json

Hook processes, one at first and then eight at once, emit `task` records (with `--files`, such whose files are named
and hashed already); another process listens like an agent: it reads the outbox within 2 ms of a bell. Printed per
case: median and 99th percentile of `Recorder.emit` and of making the body before it. The targets (80-performance) are
25 and 150 µs for one process, 60 µs in the median for eight. With them the *floor* of the same moment: spelling the
body (orjson) and one `write`, which no hook can do without; it tells how fast this machine is just now. Where more
runs than there are cores, wall time counts waiting for one; CPU time (its clock costs half a microsecond itself) says
what emitting takes then.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import orjson

from scichain_wf import limits
from scichain_wf.client.outbox import BELL, OutboxReader, create_outbox, outbox_directory
from scichain_wf.hooks.recorder import Delivery, Recorder, new_run_id
from scichain_wf.hooks.records import Engine, TaskFacts, task_body
from scichain_wf.model.bodies import Kind
from scichain_wf.model.canonical import JsonObject

CHAIN = bytes(range(32))
_ENGINE = Engine("snakemake", "9.27.0")
_Results: TypeAlias = "multiprocessing.SimpleQueue[dict[str, list[float]]]"


def facts(files_count: int) -> TaskFacts:
    """One attempt of a task with so many inputs (of at most three)."""
    files: list[JsonObject] = [
        {"uri": f"work:{'0' * 16}/data/{name}", "role": name, "state": "file", "digest": f"sha256:{'0' * 64}",
         "size_bytes": 1_000_000, "mtime_us": 1}
        for name in ("reads", "reference", "bam")
    ]  # fmt: skip
    return TaskFacts(
        "align", "align[sample=a]", inputs=files[:files_count], wildcards={"sample": "a"}, started_us=1,
        ended_us=2, command="bwa mem -t 8 data/reference data/reads | samtools sort -o data/bam", exit_status=0,
    )  # fmt: skip


def listen(directory: Path, stop: threading.Event | None = None) -> None:
    """Be the agent: take in what is there, a little after each bell."""
    reader = OutboxReader(directory)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind(os.fspath(directory / BELL))
        bell.settimeout(limits.POLL_S)
        while stop is None or not stop.is_set():
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


def timed_us(
    call: Callable[[], object], number: int, clock: Callable[[], int] = time.perf_counter_ns
) -> list[float]:
    """How long each call took."""
    took = []
    for _ in range(number):
        begun = clock()
        call()
        took.append((clock() - begun) / 1e3)
    return took


def hook(directory: Path, records: int, files: int, results: _Results) -> None:
    """One hook process."""
    recorder = Recorder(CHAIN, new_run_id(), [directory], None)
    known = facts(files)
    body = task_body(_ENGINE, known, "node1", "user")
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        fd = file.fileno()
        floor = timed_us(lambda: os.write(fd, orjson.dumps(body, option=orjson.OPT_SORT_KEYS)), records)
    made = timed_us(lambda: task_body(_ENGINE, known, "node1", "user"), min(records, 2_000))
    timed_us(lambda: recorder.emit(Kind.TASK, body, known.task), 100)
    emitted = timed_us(lambda: recorder.emit(Kind.TASK, body, known.task), records)
    cpu = timed_us(lambda: recorder.emit(Kind.TASK, body, known.task), records, time.thread_time_ns)
    if recorder.count(Kind.TASK, Delivery.OUTBOX) != 2 * records + 100:
        raise RuntimeError(f"not all were taken: {recorder.problems}")
    results.put({"floor": floor, "body": made, "emit": emitted, "emit, CPU": cpu})


def measure(processes: int, records: int, files: int) -> dict[str, list[float]]:
    """Times of all processes together, in microseconds."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="sc-") as base:
        directory = outbox_directory(CHAIN, 1, Path(base))
        create_outbox(directory)
        agent = context.Process(target=listen, args=(directory,), daemon=True)
        agent.start()
        while not (directory / BELL).exists():
            time.sleep(0.01)
        results: _Results = context.SimpleQueue()
        hooks = [context.Process(target=hook, args=(directory, records, files, results)) for _ in range(processes)]
        for process in hooks:
            process.start()
        found = [results.get() for _ in hooks]
        for process in hooks:
            process.join()
        agent.kill()
        agent.join()
    return {name: [value for result in found for value in result[name]] for name in found[0]}


def main() -> int:
    """Measure, print, keep the samples if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=20_000, help="per process")
    parser.add_argument("--files", type=int, choices=range(4), default=0, help="per record")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--json", type=Path, help="where to put all samples")
    options = parser.parse_args()
    samples = {}
    for processes in options.processes:
        samples[processes] = measure(processes, options.records, options.files)
        for name, took in samples[processes].items():
            took.sort()
            median, late = took[len(took) // 2], took[len(took) * 99 // 100]
            print(f"{processes} processes  {name:9}  median {median:7.1f} µs  p99 {late:7.1f} µs")
    if options.json is not None:
        options.json.write_text(json.dumps({"python": sys.version, "cpus": os.cpu_count(), "samples_us": samples}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
