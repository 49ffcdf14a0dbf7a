"""The embedded service: one background process with a storage node and its agents, started by an engine's process.

    service = start(Path(".scichain"), nodes=3)
    ...                              # hooks append to service.outboxes
    summary = service.flush(run)     # everything they appended so far is committed
    service.stop()

The service ends with whoever started it: its standard input is a pipe whose other end is held here, and it watches
this process besides. Processes of it that die are started again; a flush under way is then asked for again. Only the
process that started it talks to it; a fork of that process cannot. Standard library only: engines import this.
"""

from __future__ import annotations

import json
import os
import selectors
import site
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self, cast

from scichain_wf import errors, limits
from scichain_wf.client import kept
from scichain_wf.errors import LedgerError, PeerError, ScichainError, UsageError

_MODULE: Final = "scichain_wf.node.main"


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of one run.

    Attributes:
        transactions: committed transactions by `quorum`, `poet` and `spool` (adopted from the spool).
        tasks: how many of them are tasks.
        voters: `slot 1 (host)`: whose verdicts are in the certificates of the run's blocks.
        head_height: height of the newest link.
        head: its hash.
        trust_root: the chain's id.
    """

    transactions: dict[str, int]
    tasks: int
    voters: list[str]
    head_height: int
    head: bytes
    trust_root: bytes


@dataclass(frozen=True, slots=True)
class Others:
    """Agents that others start (`scichain-wf node`), on this host or elsewhere.

    Attributes:
        slots: how many; their slots follow those of the service's own agents.
        host: the address of this host where they find the service.
        ports: first and last port that it may take; (0, 0): any.
    """

    slots: int = 0
    host: str = "127.0.0.1"
    ports: tuple[int, int] = (0, 0)


class Service:
    """A running service; made by `start`.

    Attributes:
        chain: chain id (32 bytes).
        outboxes: one directory per agent.
        spool: where records go that no agent takes.
        pids: process ids by name (`storage`, `slot-1`, ...); `poll` brings them up to date.
        notes: what the user should know of the start, in words.
    """

    def __init__(self, process: subprocess.Popen[bytes], chain_dir: Path) -> None:
        self._process = process
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._buffer = b""
        self._stopped = False
        self._chain_dir = chain_dir
        self._log = _log_file(chain_dir)
        self.chain = b""
        self.outboxes: list[Path] = []
        self.spool = chain_dir / "spool"
        self.pids: dict[str, int] = {}
        self.notes: list[str] = []
        self._flushes = 0
        self._failure: ScichainError | None = None

    def flush(
        self, run: bytes, *, timeout_s: float = 30.0, progress: Callable[[int, int], None] | None = None
    ) -> Summary:
        """Wait until every transaction that is in an outbox or the spool now is committed.

        Args:
            run: run id (16 bytes), whose figures are returned.
            timeout_s: how long at most.
            progress: called with (committed, pending) when these change.

        Raises:
            PeerError: not in time, or the service is gone; says where the records wait.
        """
        with self._lock:
            self._check_owner()
            self._flushes += 1
            deadline = time.monotonic() + timeout_s
            self._ask_flush(run, deadline)
            while True:
                answer = self._answer(deadline + limits.SERVICE_GRACE_S)
                restarted = "ready" in answer
                self._take(answer)
                if self._failure is not None:
                    raise self._waiting(self._failure)
                if restarted:
                    self._ask_flush(run, deadline)
                if answer.get("flush") != self._flushes:
                    continue
                if "error" in answer:
                    raise self._waiting(_error(answer))
                if "flushed" in answer:
                    self._keep()
                    return _summary(cast("dict[str, object]", answer["flushed"]))
                if progress is not None:
                    committed, pending = cast("list[int]", answer["progress"])
                    progress(committed, pending)

    def poll(self) -> None:
        """Take in what the service said meanwhile, without waiting: whether processes were started again."""
        with self._lock:
            self._check_owner()
            self._catch_up()

    def stop(self, *, timeout_s: float = limits.DRAIN_TIMEOUT_S) -> None:
        """Drain, end the service and wait for its end. Idempotent; a forked copy of this process does nothing.

        Raises:
            PeerError: it ended without having committed everything, or did not end in time and was killed.
        """
        with self._lock:
            if self._stopped or os.getpid() != self._owner:
                return
            self._stopped = True
            if self._process.stdin is not None:
                with suppress(OSError):  # it is gone: its exit code says how
                    self._process.stdin.write(b'{"end": true}\n')  # forks of this process may hold the pipe open
                self._process.stdin.close()
            try:
                code = self._process.wait(timeout_s + limits.SERVICE_GRACE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise self._waiting(PeerError("the recording service did not end in time and was killed")) from None
            finally:
                if self._process.stdout is not None:
                    self._process.stdout.close()
            if code != 0:
                raise self._waiting(PeerError(f"the recording service ended with code {code}"))
            self._keep()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of a service that nobody stopped; whether it has ended."""
        self.poll()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def begin(self, nodes: int, lease_s: float, others: Others, metrics: Path, timeout_s: float) -> None:
        """Say what is wanted and wait until the service is ready (part of `start`)."""
        wanted = {"chain_dir": str(self._chain_dir), "nodes": nodes, "engine_pid": self._owner, "lease_s": lease_s}
        place = {"listen": [others.host, *others.ports], "slots": others.slots, "metrics": str(metrics)}
        self._say({"role": "storage"} | wanted | place)
        while not self.chain:
            try:
                self._take(self._answer(time.monotonic() + timeout_s))
            except PeerError as error:
                raise PeerError(f"the recording service did not start: {error}") from None
            if self._failure is not None:
                raise self._failure

    def _catch_up(self) -> None:
        with suppress(PeerError):  # nothing more, or its end: the next flush tells
            while True:
                self._take(self._answer(0))

    def _take(self, answer: dict[str, object]) -> None:
        """Remember what is said of the service itself; a line with a flush's number is for that flush."""
        if "ready" in answer:
            ready = cast("dict[str, object]", answer["ready"])
            self.chain = bytes.fromhex(cast("str", ready["chain"]))
            self.outboxes = [Path(path) for path in cast("list[str]", ready["outboxes"])]
            self.spool = Path(cast("str", ready["spool"]))
            self.notes = cast("list[str]", ready["notes"])
            answer = ready
        if "pids" in answer:
            self.pids = cast("dict[str, int]", answer["pids"])
        if "error" in answer and "flush" not in answer:
            self._failure = _error(answer)

    def _ask_flush(self, run: bytes, deadline: float) -> None:
        left_ms = max(0, int((deadline - time.monotonic()) * 1_000))
        self._say({"flush": {"number": self._flushes, "run": run.hex(), "timeout_ms": left_ms}})

    def _keep(self) -> None:
        """Keep the newest checkpoint where nobody reaches it who reaches the chain."""
        try:
            kept.keep(self.chain, (self._chain_dir / "checkpoint").read_bytes())
        except OSError as error:
            note = f"no checkpoint is kept outside of the chain ({error}): a rollback would not be noticed"
            self.notes = [*self.notes, note]

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise UsageError("only the process that started the service can use it; this is a fork of it")
        if self._stopped:
            raise UsageError("the service was stopped")

    def _say(self, command: dict[str, object]) -> None:
        try:
            cast("IO[bytes]", self._process.stdin).write(json.dumps(command).encode() + b"\n")
        except OSError:
            self._catch_up()  # it may have said why
            raise self._waiting(self._failure or PeerError("the recording service is gone")) from None

    def _answer(self, deadline: float) -> dict[str, object]:
        """The next line it says."""
        stdout = cast("IO[bytes]", self._process.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise self._waiting(PeerError("the recording service does not answer"))
                chunk = os.read(stdout.fileno(), 65_536)
                if not chunk:
                    raise self._waiting(PeerError("the recording service ended unexpectedly"))
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            return cast("dict[str, object]", json.loads(line))
        except ValueError:
            return {}  # what a process said when it was killed

    def _waiting(self, error: ScichainError) -> PeerError:
        """`error` with what became of the records and how to get them in."""
        return PeerError(
            f"{error}. Nothing is lost: records that are not committed wait in {self._outbox_base()} (until this "
            f"machine restarts) and in {self.spool}; the next run on this chain takes them in. Details: {self._log}"
        )

    def _outbox_base(self) -> Path | str:
        return self.outboxes[0].parent if self.outboxes else "the outbox"


def start(
    chain_dir: Path,
    nodes: int = 1,
    *,
    timeout_s: float = 30,
    lease_s: float = limits.WRITER_LEASE_S,
    others: Others = Others(),
    metrics_dir: Path | None = None,
) -> Service:
    """Start a storage node and `nodes` agents on the chain in `chain_dir`, making the chain if there is none.

    Args:
        chain_dir: the chain's directory.
        nodes: how many agents.
        timeout_s: how long it may be silent. It says so while it waits for a storage node that may be alive elsewhere.
        lease_s: the storage node's lease; see `node.writers`.
        others: agents that it does not start itself.
        metrics_dir: where its processes leave their figures; by default in `run/metrics` of the chain.

    Raises:
        LedgerError: the directory is not a chain, is damaged, or is in use by another service.
        ConfigError: its keys cannot be used.
        PeerError: the service did not get ready; the message says why.
        UsageError: a number of nodes out of range.
    """
    least = 0 if others.slots else 1
    if not least <= nodes <= limits.EMBEDDED_NODES_MAX:
        raise UsageError(f"{nodes} nodes on one host: allowed are {least} to {limits.EMBEDDED_NODES_MAX}")
    if not 0 <= others.slots <= limits.SLOTS_MAX - nodes:
        raise UsageError(f"{others.slots} nodes on other hosts: allowed are 0 to {limits.SLOTS_MAX - nodes}")
    shortest_s, longest_s = limits.WRITER_LEASE_S_MIN, limits.WRITER_LEASE_S_MAX
    if not shortest_s <= lease_s <= longest_s:
        raise UsageError(f"a lease of {lease_s} s: allowed are {shortest_s} to {longest_s} s")
    chain_dir = chain_dir.absolute()
    with _opened_log(chain_dir) as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the engine: it flushes, then the service ends
            env=_environment(),
        )
    service = Service(process, chain_dir)
    try:
        metrics = (metrics_dir or chain_dir / "run" / "metrics").absolute()
        service.begin(nodes, float(lease_s), others, metrics, timeout_s)
    except BaseException:
        _end(process)
        raise
    return service


def _end(process: subprocess.Popen[bytes]) -> None:
    """A start that failed: its input is closed, so it ends by itself; if not, it is killed."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(limits.SERVICE_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _log_file(chain_dir: Path) -> Path:
    return chain_dir / "run" / "storage.log"


def _opened_log(chain_dir: Path) -> IO[bytes]:
    """The log to append to; a long one is moved aside. Nothing is made in a directory that is something else."""
    path = _log_file(chain_dir)
    try:
        strange = chain_dir.exists() and any(chain_dir.iterdir()) and not path.parent.is_dir()
        if strange and not (chain_dir / "ledger").is_dir():
            return Path(os.devnull).open("ab")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > limits.LOG_BYTES_MAX:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")
    except OSError as error:
        raise LedgerError(
            f"{chain_dir}: cannot be used for a chain: {error.strerror}; choose another --chain"
        ) from None


def _environment() -> dict[str, str]:
    """This process's environment; a package that runs from a checkout is made importable for the child."""
    environment = dict(os.environ)
    home = str(Path(__file__).resolve().parents[2])
    if home not in {*site.getsitepackages(), site.getusersitepackages()}:
        environment["PYTHONPATH"] = os.pathsep.join([home, *filter(None, [environment.get("PYTHONPATH")])])
    return environment


def _error(answer: dict[str, object]) -> ScichainError:
    """The child's error in its own class; `InvariantViolation` and strangers become `PeerError`."""
    value = cast("dict[str, str]", answer["error"])
    kind = getattr(errors, value["class"], PeerError)
    if not (isinstance(kind, type) and issubclass(kind, ScichainError)):
        kind = PeerError
    return kind(value["message"])


def _summary(value: dict[str, object]) -> Summary:
    return Summary(
        transactions=cast("dict[str, int]", value["transactions"]),
        tasks=cast("int", value["tasks"]),
        voters=cast("list[str]", value["voters"]),
        head_height=cast("int", value["head_height"]),
        head=bytes.fromhex(cast("str", value["head"])),
        trust_root=bytes.fromhex(cast("str", value["trust_root"])),
    )
