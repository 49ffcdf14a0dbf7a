"""Storage is away and shared memory is small: hooks spill to the burst buffer. A program.

    python -m tests.integration.spill CHAIN BURST COUNT [kill]

For a mount namespace with its own /dev/shm. With `kill` the agent that reads the burst buffer is killed meanwhile.

Prints how many records went where, how many files waited, and how many are left at the end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from scichain_wf.client.burst import burst_directory
from scichain_wf.client.service import Service, start
from scichain_wf.hooks.recorder import Delivery, Recorder
from scichain_wf.model.bodies import Kind
from scichain_wf.model.transaction import RunId
from tests.integration.service_kit import Records, kill, wait_until


def reader(directory: Path, service: Service) -> str:
    """Which agent has the burst buffer open, once one has."""
    found: list[str] = []

    def has_opened() -> bool:
        for name in ("slot-1", "slot-2"):
            descriptors = Path(f"/proc/{service.pids[name]}/fd").iterdir()
            if any(os.path.realpath(descriptor) == os.fspath(directory) for descriptor in descriptors):
                found.append(name)
        return bool(found)

    wait_until(has_opened, "an agent that reads the burst buffer")
    return found[0]


def main(chain: Path, base: Path, count: int, *, killed: bool) -> None:
    """See above."""
    service = start(chain, 2, burst_buffer=base)
    records = Records(service.chain)
    recorder = Recorder(service.chain, RunId(records.run), service.outboxes, service.spool, burst=base)
    waiting = burst_directory(base, service.chain) / "new"
    os.kill(service.pids["storage"], signal.SIGSTOP)
    begun, sent = time.monotonic(), Counter[Delivery]()
    try:
        for number in range(count):
            sent[recorder.emit(Kind.TASK, records.task(f"t{number}").body, str(number))] += 1
        emit_s, spilled = time.monotonic() - begun, len(os.listdir(waiting))
        if killed:
            kill(service, reader(burst_directory(base, service.chain), service))
        spooled = len(os.listdir(service.spool / "new")) if service.spool.exists() else 0
    finally:
        os.kill(service.pids["storage"], signal.SIGCONT)
    committed = service.flush(records.run, timeout_s=120).tasks
    left = len(os.listdir(waiting))
    service.stop()
    print(
        json.dumps(
            {
                "sent": {str(where): number for where, number in sent.items()},
                "spilled": spilled,
                "spooled": spooled,
                "committed": committed,
                "left": left,
                "problems": recorder.problems,
                "detour": recorder.detour,
                "emit_s": round(emit_s, 2),
                "all_s": round(time.monotonic() - begun, 2),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), killed="kill" in sys.argv[4:])
