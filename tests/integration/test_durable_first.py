"""What a running storage node does between an append and the answer, as the kernel saw it."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from scichain_wf.client.acks import wait_committed
from scichain_wf.ledger.layout import DATA_FILE
from tests.integration.service_kit import WAIT_S, Records, emit, running, wait_until
from tests.integration.store_crash import strace_works

_CALLS = "pwrite64,pwritev,writev,write,fdatasync,fsync,msync,sendto,sendmsg"
_O_DSYNC = 0o10_000
_RECORDS = 20
_WRITES = {"write", "writev", "pwrite64", "pwritev"}
_CALL = re.compile(r"\d+ +(\w+)\((\d+)<([^>]*)>(.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")


def events(trace: str, synced: set[int]) -> list[str]:
    """`write`, `sync` and `answer` in the order in which each took effect: a sync at its end, others when they begin.

    Args:
        trace: lines of strace, with paths.
        synced: descriptors whose every write is a sync as well.
    """
    found: list[str] = []
    syncing: set[str] = set()
    for line in trace.splitlines():
        thread = line.split()[0]
        if resumed := _RESUMED.match(line):
            if thread in syncing and resumed[2] in {"fdatasync", "fsync", *_WRITES}:
                syncing.discard(thread)
                found += ["sync"] * (not resumed[3].rstrip().endswith("-1"))
            continue
        call = _CALL.match(line)
        if call is None:
            continue
        name, descriptor, path, rest = call[1], int(call[2]), call[3], call[4]
        is_data = path.endswith(DATA_FILE)
        if "committed" in rest and "true" in rest:
            found.append("answer")
        elif is_data and name in _WRITES and descriptor not in synced:
            found.append("write")
        elif is_data and (name in {"fdatasync", "fsync"} or descriptor in synced):
            if "unfinished" in rest:
                syncing.add(thread)
            elif not re.search(r"= -1", rest):
                found.append("sync")
    return found


@pytest.mark.skipif(not strace_works(), reason="strace is not installed, or may not trace here")
def test_a_running_storage_node_syncs_before_it_says_committed(tmp_path: Path) -> None:
    """Spec: SAFE-3, LOSS-1."""
    chain, log = tmp_path / "chain", tmp_path / "trace"
    with running(chain) as service:
        storage, records = service.pids["storage"], Records(service.chain)
        descriptors = Path(f"/proc/{storage}/fd")
        data = [int(fd.name) for fd in descriptors.iterdir() if str(fd.readlink()).endswith(DATA_FILE)]
        flags = {fd: Path(f"/proc/{storage}/fdinfo/{fd}").read_text().split()[3] for fd in data}
        synced = {fd for fd in data if int(flags[fd], 8) & _O_DSYNC}
        command = ["strace", "-qq", "-fy", "-s", "100", "-o", str(log), "-e", f"trace={_CALLS}", "-p", str(storage)]
        tracer = subprocess.Popen(command)
        status = Path(f"/proc/{storage}/status")
        wait_until(lambda: "TracerPid:\t0\n" not in status.read_text(), "strace")
        for record in records.tasks(_RECORDS):
            emit(service, [record])
            wait_committed(service.chain, record.key, record.id, WAIT_S)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(WAIT_S)
    seen = events(log.read_text(), synced)
    assert seen.count("answer") == _RECORDS
    pieces = " ".join(seen).split("answer")[:-1]
    for piece in pieces:
        assert piece.split()[-1:] == ["sync"], f"an answer after {piece!r}: {log.read_text()[-4000:]}"
        assert "write" in piece
