"""The embedded service: one background process with a storage node and its agents, started by an engine's process.

    service = start(Path(".scichain"), nodes=3)
    ...                              # hooks append to service.outboxes
    summary = service.flush(run)     # everything they appended so far is committed
    service.stop()

Runs that come while it is there take part in it (`attend`) over a Unix socket,

    /dev/shm/scichain-<uid>/<chain>/service

and it ends with the last of them: what each of them holds is a pipe or a connection, and it watches their processes
besides. Processes of it that die are started again; a flush under way is then asked for again. Only the process that
started or joined it talks to it; a fork of that process cannot. Standard library only: engines import this.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

from scichain_wf import limits
from scichain_wf.client import kept
from scichain_wf.client.lines import ChildLines, Directory, SocketLines, error_of
from scichain_wf.client.outbox import SERVICE, outbox_directory
from scichain_wf.client.spawn import log_file, spawned
from scichain_wf.client.summary import Summary
from scichain_wf.client.trustroot import read_trust_root
from scichain_wf.errors import LedgerError, LedgerInUse, PeerError, ScichainError, UsageError


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
    """A running service; made by `start`, `join` or `attend`.

    Attributes:
        chain: chain id (32 bytes).
        outboxes: one directory per agent.
        spool: where records go that no agent takes.
        pids: process ids by name (`storage`, `slot-1`, ...); `poll` brings them up to date.
        notes: what the user should know of the start, in words.
        is_lost: whether it is known to be gone; the chain may be attended anew.
        stays: after `stop`: whether others use it on.
    """

    def __init__(self, lines: ChildLines | SocketLines, chain_dir: Path) -> None:
        self._lines = lines
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self.is_lost = self.stays = False
        self._stopped = False
        self._chain_dir = chain_dir
        self._log = log_file(chain_dir)
        self.chain = b""
        self.outboxes: list[Path] = []
        self.spool = chain_dir / "spool"
        self.pids: dict[str, int] = {}
        self.notes: list[str] = []
        self._flushes = 0
        self._failure: ScichainError | None = None
        self._is_ready = False
        self._serves: Directory | None = None

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
                answer = self._answer(deadline + limits.ANSWER_GRACE_S)
                restarted = "ready" in answer and self._is_ready
                self._take(answer)
                if self._failure is not None:
                    raise self._waiting(self._failure)
                if restarted:
                    self._ask_flush(run, deadline)
                if answer.get("flush") != self._flushes:
                    continue
                if "error" in answer:
                    raise self._waiting(error_of(answer))
                if "flushed" in answer:
                    self._keep()
                    return Summary.from_value(cast("dict[str, object]", answer["flushed"]))
                if progress is not None:
                    committed, pending = cast("list[int]", answer["progress"])
                    progress(committed, pending)

    def poll(self) -> None:
        """Take in what the service said meanwhile, without waiting: whether processes were started again."""
        with self._lock:
            self._check_owner()
            self._catch_up()

    def stop(self, *, timeout_s: float = limits.DRAIN_TIMEOUT_S + limits.SERVICE_GRACE_S) -> None:
        """Leave. With the last who leaves the service commits what is left and ends, which is waited for.

        Idempotent; a forked copy of this process does nothing.

        Raises:
            PeerError: it ended without having committed everything, or has not ended in time; then it goes on alone.
        """
        with self._lock:
            if self._stopped or os.getpid() != self._owner:
                return
            self._stopped = True
            deadline = time.monotonic() + timeout_s
            with suppress(OSError):  # it is gone: how, is seen below
                self._lines.say({"end": True})  # forks of this process may hold the pipe open
            self._lines.leave()
            try:
                code, why = self._end(deadline)
            except TimeoutError:
                late = PeerError(f"the recording service has not ended within {timeout_s:.0f} s, and goes on alone")
                raise self._waiting(late) from None
            finally:
                self._lines.close()
            if code != 0:
                raise self._waiting(PeerError(f"the recording service ended with code {code}{why}"))
            self._keep()

    def _end(self, deadline: float) -> tuple[int, str]:
        """Its exit code and why; 0 as well if others use it on. `TimeoutError` if it does not say in time."""
        said: dict[str, object] = {}
        while (answer := self._lines.answer(deadline)) is not None:
            said |= answer
            if "left" in answer:
                self.stays = True
                return 0, ""
        code = self._lines.wait(max(0.0, deadline - time.monotonic()))
        if code is None:
            raise TimeoutError
        why = f": {said['why']}" if said.get("why") else ""
        return cast("int", said.get("ended", code)), why

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of a service that nobody stopped; whether it has ended."""
        self.poll()
        return self._lines.wait(timeout_s) is not None

    def begin(
        self, wanted: dict[str, object], timeout_s: float, *, wait: bool = True, deadline: float = math.inf
    ) -> None:
        """Say what is wanted, if anything, and wait until records are taken, or (`wait`) until the service is ready.

        Until `deadline`; then it is left to itself.
        """
        try:
            if wanted:
                self._say(wanted)
            while not (self._is_ready if wait else self.chain):
                self._take(self._answer(min(deadline, time.monotonic() + timeout_s)))
                if self._failure is not None:
                    raise self._failure
        except PeerError as error:
            self._lines.end(wait=time.monotonic() < deadline)
            if error is self._failure:
                raise
            what = "start" if wanted else "answer"
            raise PeerError(f"the recording service did not {what}: {error}") from None
        except BaseException:
            self._lines.end()
            raise

    def refuse_copy(self) -> None:
        """Leave, and raise `UsageError`, if it serves another directory of the same chain (part of `join`)."""
        if self._serves is None or self._serves.is_same(Directory.of(self._chain_dir)):
            return
        self._lines.end()
        raise UsageError(
            f"{self._chain_dir} and {self._serves.path} are copies of one chain, and a run records on the latter: "
            "records would end up there. Wait for its end, or choose another directory for the chain"
        )

    def _catch_up(self) -> None:
        with suppress(PeerError):  # nothing more, or its end: the next flush tells
            while True:
                self._take(self._answer(0))

    def _take(self, answer: dict[str, object]) -> None:
        """Remember what is said of the service itself; a line with a flush's number is for that flush."""
        self._is_ready |= "ready" in answer
        answer = cast("dict[str, dict[str, object]]", answer).get("opened" if "opened" in answer else "ready", answer)
        if "chain" in answer:
            self.chain = bytes.fromhex(cast("str", answer["chain"]))
            self.outboxes = [Path(path) for path in cast("list[str]", answer["outboxes"])]
            self.spool = Path(cast("str", answer["spool"]))
            self.notes = cast("list[str]", answer["notes"])
        if "directory" in answer:
            self._serves = Directory(*cast("tuple[str, int, int]", answer["directory"]))
        if "pids" in answer:
            self.pids = cast("dict[str, int]", answer["pids"])
        if "error" in answer and "flush" not in answer:
            self._failure = error_of(answer)

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
            self._lines.say(command)
        except OSError:
            self._catch_up()  # it may have said why
            self.is_lost = True
            raise self._waiting(self._failure or PeerError("the recording service is gone")) from None

    def _answer(self, deadline: float) -> dict[str, object]:
        """The next line it says."""
        try:
            answer = self._lines.answer(deadline)
        except TimeoutError:
            raise self._waiting(PeerError("the recording service does not answer")) from None
        if answer is None:
            self.is_lost = True
            raise self._waiting(PeerError("the recording service ended unexpectedly"))
        return answer

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
    wait: bool = True,
    burst_buffer: Path | None = None,
    deadline: float = math.inf,
) -> Service:
    """Start a storage node and `nodes` agents on the chain in `chain_dir`, making the chain if there is none.

    Args:
        chain_dir: the chain's directory.
        nodes: how many agents.
        timeout_s: how long it may be silent. It says so while it waits for a storage node that may be alive elsewhere.
        lease_s: the storage node's lease; see `node.writers`.
        others: agents that it does not start itself.
        metrics_dir: where its processes leave their figures; by default in `run/metrics` of the chain.
        burst_buffer: see the setting.
        wait: until its agents have joined. If not, it is returned as soon as the chain is found in order and hooks can
            hand over records; what goes wrong after that, the flush tells.
        deadline: until when it may take at all (monotonic); then it goes on without being waited for.

    Raises:
        LedgerInUse: a service of this host has it, or is about to begin or to end: see `attend`.
        LedgerError: the directory is not a chain, is damaged, or is in use by a service of another host.
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
    process = spawned(chain_dir)
    wanted = {"chain_dir": str(chain_dir), "nodes": nodes, "engine_pid": os.getpid(), "lease_s": float(lease_s)}
    metrics = (metrics_dir or chain_dir / "run" / "metrics").absolute()
    place = {"listen": [others.host, *others.ports], "slots": others.slots, "metrics": str(metrics)}
    burst = {"burst_buffer": str(burst_buffer.absolute()) if burst_buffer is not None else None}
    service = Service(ChildLines(process), chain_dir)
    service.begin({"role": "storage"} | wanted | place | burst, timeout_s, wait=wait, deadline=deadline)
    return service


def join(chain_dir: Path, *, deadline: float = math.inf) -> Service | None:
    """Take part in the service that runs on this chain on this host; None if there is none. `deadline`: as in `start`.

    Raises:
        PeerError: there is one, and it does not answer, or is another user's.
        UsageError: it has a copy of this chain, or what this is a copy of.
    """
    lines = _connected(chain_dir)
    if lines is None:
        return None
    service = Service(lines, chain_dir.absolute())
    try:
        service.begin({}, limits.SERVICE_GRACE_S, deadline=deadline)
    except PeerError:
        if service.is_lost:
            return None  # it was just ending
        raise
    service.refuse_copy()
    return service


def is_there(chain_dir: Path) -> bool:
    """Whether a service runs on this chain on this host that can be joined. Errors as of `join`."""
    lines = _connected(chain_dir)
    if lines is not None:
        lines.close()
    return lines is not None


def _connected(chain_dir: Path) -> SocketLines | None:
    try:
        return SocketLines(outbox_directory(read_trust_root(chain_dir), 1).parent / SERVICE)
    except (OSError, LedgerError):
        return None


def attend(
    chain_dir: Path,
    nodes: int = 1,
    metrics_dir: Path | None = None,
    burst: Path | None = None,
    *,
    others: Others | None = None,
    wait: bool = True,
    deadline: float = math.inf,
) -> Service:
    """Join the service that runs on this chain, or start one; wait for one that is just starting or ending.

    Raises:
        ScichainError: as `start` and `join`; `PeerError` as well if there is no time left before `deadline`.
    """
    patience = time.monotonic() + limits.ATTEND_TIMEOUT_S
    while time.monotonic() < deadline:
        joined = join(chain_dir, deadline=deadline)
        if joined is not None:
            return joined
        try:
            return start(chain_dir, nodes, others=others or Others(), metrics_dir=metrics_dir, burst_buffer=burst,
                         wait=wait, deadline=deadline)
        except LedgerInUse:
            if time.monotonic() > patience:
                raise
    raise PeerError(f"no time was left to start a service of {chain_dir}; the next run on it takes the records in")
