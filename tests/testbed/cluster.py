"""A chain with agents on several nodes of a bed, run by the commands a person would use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from scichain_wf.client.outbox import outbox_directory
from scichain_wf.client.trustroot import read_trust_root
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model import certificate
from scichain_wf.model.epoch import Epoch
from scichain_wf.model.link import Mode
from scichain_wf.model.transaction import Transaction
from tests.integration.service_kit import Records, committed, wait_until

if TYPE_CHECKING:
    from tests.testbed.bed import Bed
    from tests.testbed.node import Node, Process

WAIT_S: Final = 60.0
_PROGRAM: Final = (sys.executable, "-m", "scichain_wf")
_ROOT: Final = Path(__file__).resolve().parents[2]
_EMIT: Final = """
import sys
from pathlib import Path
from scichain_wf.client.outbox import OutboxWriter
writer = OutboxWriter(Path(sys.argv[1]))
for line in sys.stdin:
    writer.append(bytes.fromhex(line))
"""


def environment() -> dict[str, str]:
    """This process's, in which the package is found where it is found here."""
    import scichain_wf

    home = str(Path(scichain_wf.__file__).resolve().parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))}


class Cluster:
    """A storage node on the bed's first node, the agent of slot k on the k-th of the others.

    Attributes:
        chain: directory of the chain, as seen from here.
        records: makes transactions for it, once the storage node has made it.
    """

    def __init__(self, bed: Bed, inside: Path | None = None, chain: Path | None = None) -> None:
        self.bed = bed
        self._inside = inside or bed.shared / "a chain"
        self.chain = chain or self._inside
        self.storage_host, *self.hosts = bed.nodes
        self._processes: dict[int, Process] = {}

    def __enter__(self) -> Self:
        self.start_storage(self.storage_host)
        self.records = Records(read_trust_root(self.chain))
        for slot in self.slots:
            self.start_agent(slot, waits=False)
        for slot in self.slots:
            self.wait_joined(slot)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def slots(self) -> range:
        """All of them."""
        return range(1, len(self.hosts) + 1)

    def host(self, slot: int) -> Node:
        """Where the agent of a slot is."""
        return self.hosts[slot - 1]

    # --- processes ----------------------------------------------------------------------------------
    def start_storage(self, node: Node, *options: str) -> None:
        """Start the storage node and wait until agents can join."""
        slots = ["--slots", str(len(self.hosts))]
        self.storage = self._started(node, "storage", *slots, *options)
        self._read_until(self.storage, "tokens")

    def start_agent(self, slot: int, *options: str, host: Node | None = None, waits: bool = True) -> Process:
        """Start the agent of a slot, on its host or another one, and wait until it has joined."""
        process = self._started(host or self.host(slot), "node", "--slot", str(slot), *options)
        self._processes[slot] = process
        if waits:
            self.wait_joined(slot)
        return process

    def wait_joined(self, slot: int) -> None:
        """Wait until the newest agent of a slot has joined (again)."""
        self._read_until(self.agent(slot), "joined")

    def agent(self, slot: int) -> Process:
        """The `node` command of a slot; the agent itself is its child."""
        return self._processes[slot]

    def stop(self) -> None:
        """End everything in order; what is frozen or dead by then is no error."""
        for process in (self.storage, *self._processes.values()):
            process.signal(signal.SIGTERM)
        for process in (self.storage, *self._processes.values()):
            process.wait(WAIT_S)

    def _started(self, node: Node, *arguments: str) -> Process:
        command = [*_PROGRAM, arguments[0], "--chain", str(self._inside), "--interface", "eth0", *arguments[1:]]
        log = (self.bed.directory / f"{node.name}.log").open("a")
        with log:
            return node.popen(command, environment=environment(), stdout=subprocess.PIPE, stderr=log, cwd=_ROOT)

    def _read_until(self, process: Process, expects: str) -> None:
        stdout = process.popen.stdout
        assert stdout is not None
        line = stdout.readline()
        while expects not in line:
            assert line, f"it ended with {process.wait()}: {self.logs()}"
            line = stdout.readline()

    def logs(self) -> str:
        """What all processes wrote to standard error."""
        texts = [path.read_text()[-3_000:] for path in self.bed.directory.glob("*.log")]
        service = self.chain / "run" / "storage.log"
        return "\n".join([*texts, service.read_text()[-3_000:] if service.exists() else ""])

    # --- records ------------------------------------------------------------------------------------
    def outbox(self, slot: int) -> Path:
        """Where hooks on that host write, as seen there."""
        return outbox_directory(read_trust_root(self.chain), slot)

    def emit(self, slot: int, records: Sequence[Transaction]) -> None:
        """Append records on the host of a slot, by a process that runs there."""
        text = "".join(f"{record.encode().hex()}\n" for record in records)
        self.host(slot).run([sys.executable, "-c", _EMIT, self.outbox(slot)], input=text, env=environment(), cwd=_ROOT)

    def wait_committed(self, records: Sequence[Transaction], timeout_s: float = WAIT_S) -> dict[str, int]:
        """Wait until all of these are on the chain; how many by each mode."""
        wanted = {record.id for record in records}
        wait_until(lambda: wanted <= committed(self.chain).keys(), f"{len(wanted)} records", timeout_s)
        found = committed(self.chain)
        modes = [mode for identity in wanted for _, mode in found[identity]]
        return {mode: modes.count(mode) for mode in set(modes)}

    def has_any(self, records: Sequence[Transaction]) -> bool:
        """Whether one of these is on the chain."""
        return not committed(self.chain).keys().isdisjoint(record.id for record in records)

    def voters_of_new(self, slot: int) -> set[int]:
        """Slots whose verdicts certify something that is emitted now."""
        records = self.records.tasks(1, f"new {time.monotonic_ns()} ")
        self.emit(slot, records)
        self.wait_committed(records)
        return self.voters(records)

    def voters(self, records: Sequence[Transaction]) -> set[int]:
        """Slots whose verdicts are in the certificates of the blocks with these records."""
        found = committed(self.chain)
        heights = {height for record in records for height, _ in found[record.id]}
        with self._store() as store, store.view() as view:
            certificates = [view.certificate_bytes(height) for height in heights]
        return {vote.header.slot for data in certificates if data for vote in certificate.decode(data).votes}

    def epochs(self) -> list[Epoch]:
        """Every membership that was in force, oldest first."""
        with self._store() as store, store.view() as view:
            heights = [height for height in range(view.size) if view.link(height).mode is Mode.EPOCH]
            return [Epoch.from_body(Transaction.decode(view.transaction((height, 0))).body) for height in heights]

    def _store(self) -> ChainStore:
        return ChainStore.open(ChainLayout(self.chain).live_ledger(), readonly=True)
