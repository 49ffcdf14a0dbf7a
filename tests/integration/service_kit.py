"""What the tests of the runtime share: a service under test, transactions for it, and bounded waiting."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scichain_wf import audit, keystore
from scichain_wf.client.outbox import OutboxWriter
from scichain_wf.client.service import Service, start
from scichain_wf.errors import LedgerBusy
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.prepared import prepared
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.transaction import RunId, Transaction, TransactionKey, make_key
from tests.builders import ChainBuilder

WAIT_S = 30.0
ROOT = Path(__file__).resolve().parents[2]


class Records:
    """Makes transactions for one chain and one run."""

    def __init__(self, chain: bytes) -> None:
        self._builder = ChainBuilder()
        self._builder.chain = chain
        self._builder.key = self._key  # type: ignore[method-assign]  # keys of two runs of a test must differ
        self.run = self._builder.run = RunId(self._key())

    def _key(self) -> TransactionKey:
        return make_key(time.time_ns() // 1_000_000, os.urandom(10))

    def task(self, name: str, inputs: list[JsonObject] | None = None, *, content: bytes | None = None) -> Transaction:
        """A task that makes an artifact of its own name."""
        output = self._builder.artifact(f"out/{name}", content or name.encode())
        return self._builder.task(name, inputs or [], [output])

    def big_task(self, name: str, outputs: int) -> Transaction:
        """A task that makes so many artifacts, of some 400 bytes each."""
        made = [self._builder.artifact(f"out/{name}/{'x' * 200}{number}", b"") for number in range(outputs)]
        return self._builder.task(name, [], made)

    def output_of(self, name: str, content: bytes | None = None) -> JsonObject:
        """An input: what the task `name` made, with the task as its origin."""
        return self._builder.artifact(f"out/{name}", content or name.encode()) | {"origin": f"task:{name}"}

    def tasks(self, count: int, prefix: str = "t") -> list[Transaction]:
        """Independent tasks."""
        return [self.task(f"{prefix}{number}") for number in range(count)]


def finding_tests() -> dict[str, str]:
    """The environment of a child that runs a module of these tests, wherever it is started."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}


def emit(service: Service, records: list[Transaction], outboxes: list[Path] | None = None) -> None:
    """Append round robin, as hooks would."""
    writers = [OutboxWriter(path) for path in outboxes or service.outboxes]
    for number, record in enumerate(records):
        writers[number % len(writers)].append(record.encode())


@contextmanager
def running(chain: Path, nodes: int = 1) -> Iterator[Service]:
    """A service, stopped at the end whatever happens; nothing of it is left then."""
    service = start(chain, nodes)
    try:
        yield service
    finally:
        service.stop()
        assert_gone(service)


def committed(chain: Path) -> dict[bytes, list[tuple[int, str]]]:
    """Transaction id → (height, mode) of every place where it is linked, epochs left out."""
    while True:
        with suppress(LedgerBusy):  # its storage node writes on: readers are told, and read again
            return _committed(chain)


def _committed(chain: Path) -> dict[bytes, list[tuple[int, str]]]:
    found: dict[bytes, list[tuple[int, str]]] = {}
    with ChainStore.open(ChainLayout(chain).live_ledger(), readonly=True) as store, store.view() as view:
        for height in range(view.size):
            link = view.link(height)
            duplicates = {a.index for a in link.annotations if a.mark == "duplicate"}
            frame = view.frame(height)
            for index in range(frame.count):
                record = Transaction.decode(frame.transaction(index))
                if record.kind != "epoch" and index not in duplicates:
                    found.setdefault(record.id, []).append((height, str(link.mode)))
    return found


def assert_committed_once(chain: Path, records: list[Transaction]) -> None:
    """Every record is on the chain exactly once, and the chain verifies."""
    found = committed(chain)
    missing = [record.body.get("task", record.kind) for record in records if record.id not in found]
    assert not missing, f"{len(missing)} of {len(records)} are not on the chain: {missing[:5]}"
    assert all(len(places) == 1 for places in found.values())
    assert_verifies(chain)


def assert_verifies(chain: Path, checkpoint: bytes | None = None) -> None:
    """The auditor, which shares no code with the runtime, has nothing to complain about."""
    result = audit.verify_chain(chain, checkpoint=checkpoint)
    assert result.exit_code == 0, result


def long_chain(directory: Path, links: int) -> ChainBuilder:
    """A chain of so many one-task blocks, made in this process, with its keys; f0, f1, ... are its artifacts."""
    build, layout = ChainBuilder(), ChainLayout(directory)
    keystore.save(layout.authority_key, build.authority)
    keystore.save(layout.storage_key, build.storage)
    with ChainStore.create(layout.ledger_dir(1), build.genesis) as store:
        with store.view() as view:
            build.linked(view.head())
        first, second = build.join_all()
        number = 0
        while number < links:
            with store.begin() as batch:
                for _ in range(500):
                    task = build.task(f"t{number}", outputs=[build.artifact(f"f{number}", b"1")])
                    candidate = (first, second)[number] if number < 2 else build.quorum(build.block(1, [task]))
                    link = batch.append(
                        prepared(candidate.block),
                        mode=candidate.mode,
                        certificate=candidate.certificate,
                        epoch=candidate.epoch,
                        writer=1,
                        time_us=build.tick(),
                    )
                    build.linked(link)
                    number += 1
    return build


def wait_until(holds: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Poll something outside this process, within bounds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def supervisor_of(service: Service) -> int:
    """Process id of the parent of the storage process."""
    return int(Path(f"/proc/{service.pids['storage']}/stat").read_text().rpartition(")")[2].split()[1])


def kill(service: Service, name: str, number: signal.Signals = signal.SIGKILL) -> None:
    """A signal to one process of the service, and the wait for its end."""
    pid = service.pids[name]
    os.kill(pid, number)
    wait_until(lambda: not is_alive(pid), f"end of {name}")


def assert_gone(service: Service) -> None:
    """No process and no directory on tmpfs is left of a service."""
    for name, pid in service.pids.items():
        wait_until(lambda pid=pid: not is_alive(pid), f"end of {name}")  # type: ignore[misc]
    base = service.outboxes[0].parent
    assert not base.exists(), sorted(base.rglob("*"))
