"""A service that stays: `scichain-wf up` starts it, runs join it, `scichain-wf down` ends it.

    <chain>/run/standing                     who keeps it: host, process, and when that process started
    /dev/shm/scichain-<uid>/<chain>/standing Unix socket, where runs of this host ask for a flush

The keeper is a process that starts the same service as an engine would, and outlives the command that made it. What
hooks write needs no keeper: the outboxes are found as always. Both ends of the socket make sure that the other belongs
to the same user. Standard library only: engines import this.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NoReturn, Self, cast

from scichain_wf import errors, limits
from scichain_wf.client import service
from scichain_wf.client.outbox import outbox_directory
from scichain_wf.client.service import Service, Summary
from scichain_wf.errors import LedgerError, PeerError, ScichainError

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid
_SOCKET: Final = "standing"


@dataclass(frozen=True, slots=True)
class Keeper:
    """The process that keeps a service.

    Attributes:
        host: where it runs.
        pid: its process id there.
        started: clock ticks from that host's boot to its start: another process may get the same pid.
        socket: where it is asked.
        trust_root: the chain's id, as hex.
        nodes: how many agents it was told to start.
        error: how it ended, if it did not end well.
    """

    host: str
    pid: int
    started: int
    socket: str
    trust_root: str
    nodes: int
    error: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; only asked on its own host."""
        return not self.error and _started(self.pid) == self.started

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this host."""
        return self.host == socket.gethostname()


class Joined:
    """A service that somebody else keeps, with what `Service` offers a run.

    Attributes:
        chain: chain id (32 bytes).
        outboxes: one directory per agent.
        spool: where records go that no agent takes.
    """

    def __init__(self, connection: socket.socket, chain_dir: Path) -> None:
        self._connection, self._chain_dir = connection, chain_dir
        self._lines = connection.makefile("rb")
        self._lock = threading.Lock()
        hello = self._answer()
        self.chain = bytes.fromhex(cast("str", hello["chain"]))
        self.outboxes = [Path(path) for path in cast("list[str]", hello["outboxes"])]
        self.spool = Path(cast("str", hello["spool"]))

    def flush(
        self, run: bytes, *, timeout_s: float = 30.0, progress: Callable[[int, int], None] | None = None
    ) -> Summary:
        """As `Service.flush`."""
        with self._lock:
            self._connection.settimeout(timeout_s + 2 * limits.SERVICE_GRACE_S)
            try:
                self._connection.sendall(_line({"flush": {"run": run.hex(), "timeout_s": timeout_s}}))
            except OSError:
                raise PeerError(self._lost("is gone")) from None
            while True:
                answer = self._answer()
                if "error" in answer:
                    raise PeerError(cast("str", answer["error"]))
                if "flushed" in answer:
                    return _summary(cast("dict[str, object]", answer["flushed"]))
                if progress is not None:
                    committed, pending = cast("list[int]", answer["progress"])
                    progress(committed, pending)

    def stop(self) -> None:
        """Leave; the service stays."""
        self._lines.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answer(self) -> dict[str, object]:
        try:
            line = self._lines.readline(limits.CONTROL_LINE_BYTES_MAX)
            return cast("dict[str, object]", json.loads(line))
        except TimeoutError:
            raise PeerError(self._lost("does not answer")) from None
        except (OSError, ValueError):
            raise PeerError(self._lost("ended")) from None

    def _lost(self, what: str) -> str:
        return (
            f"the standing service of {self._chain_dir} {what}. Nothing is lost: records wait in the outboxes and in "
            f"{self._chain_dir / 'spool'}; the next run on this chain takes them in, or `scichain-wf up`"
        )


def find(chain_dir: Path) -> Keeper | None:
    """Who keeps a service of this chain, or kept it and ended badly; None if nobody does.

    Raises:
        LedgerError: the file that says so cannot be read.
    """
    path = _state_file(chain_dir)
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(limits.CONTROL_LINE_BYTES_MAX))
        keeper = Keeper(**value)
        if not (type(keeper.pid) is type(keeper.started) is int and type(keeper.socket) is str and keeper.pid > 1):
            raise ValueError(value)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, RecursionError):
        raise LedgerError(f"{path} is damaged; remove it, after making sure that no service runs") from None
    if keeper.is_here and not keeper.error and not keeper.is_alive:
        return None  # it was killed
    return keeper


def join(chain_dir: Path) -> Joined | None:
    """Take part in a service that is up on this host; None if there is none.

    Raises:
        PeerError: there is one, and it does not answer.
        LedgerError: as in `find`.
    """
    keeper = find(chain_dir)
    if keeper is None or not keeper.is_here or keeper.error:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(limits.SERVICE_GRACE_S)
    try:
        connection.connect(keeper.socket)
        if _peer(connection) != os.geteuid():
            raise PeerError(f"the standing service of {chain_dir} belongs to another user; its records cannot be taken")
        return Joined(connection, chain_dir)
    except OSError as error:
        connection.close()
        raise PeerError(f"the standing service of {chain_dir} does not answer: {error.strerror}") from None
    except PeerError:
        connection.close()
        raise


def up(chain_dir: Path, nodes: int, metrics_dir: Path | None = None) -> Keeper:
    """Start a service that stays, in a process of its own; returns when it is ready.

    To be called from a process with one thread. In the new process it does not return.

    Raises:
        ScichainError: it did not start; the message says why.
    """
    chain_dir = chain_dir.absolute()
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _become_keeper(chain_dir, nodes, metrics_dir, theirs)
    os.close(theirs)
    try:
        with os.fdopen(ours, "rb") as answers:
            said = answers.readline(limits.CONTROL_LINE_BYTES_MAX)
    except BaseException:
        os.kill(child, signal.SIGTERM)
        raise
    answer = json.loads(said or b'{"class": "PeerError", "message": "the keeper ended before it was ready"}')
    if "message" in answer:
        os.waitpid(child, 0)
        raise getattr(errors, answer["class"])(answer["message"])
    return Keeper(**answer)


def down(chain_dir: Path) -> Keeper | None:
    """End the service that is up, after everything is committed; None if there was none.

    Raises:
        PeerError: it is on another host, did not commit everything, or does not end.
        LedgerError: as in `find`.
    """
    keeper = find(chain_dir)
    if keeper is not None and not keeper.is_here:
        raise PeerError(f"the service of {chain_dir} was started on {keeper.host}: run `scichain-wf down` there")
    if keeper is not None and not keeper.error:
        _end(keeper)
        keeper = find(chain_dir) or keeper
    if keeper is not None and keeper.error:
        _state_file(chain_dir).unlink(missing_ok=True)
        raise PeerError(keeper.error)
    return keeper


def _end(keeper: Keeper) -> None:
    try:
        process = os.pidfd_open(keeper.pid)
    except ProcessLookupError:
        return
    try:
        if not keeper.is_alive:  # looked at again: now the number cannot become another process's
            return
        signal.pidfd_send_signal(process, signal.SIGTERM)
        if not select.select([process], [], [], limits.STANDING_END_TIMEOUT_S)[0]:
            raise PeerError(f"process {keeper.pid} does not end: see run/storage.log, then `kill {keeper.pid}`")
    finally:
        os.close(process)


# --- the keeper ---------------------------------------------------------------------------------------
def _become_keeper(chain_dir: Path, nodes: int, metrics_dir: Path | None, said_to: int) -> NoReturn:
    """The child's side of the fork: leaves the terminal, keeps the service, ends."""
    os.setsid()
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        kept = service.start(chain_dir, nodes, metrics_dir=metrics_dir)
    except ScichainError as error:
        os.write(said_to, _line({"class": type(error).__name__, "message": str(error)}))
        sys.exit(error.exit_code)
    directory = outbox_directory(kept.chain, 1).parent
    path = directory / _SOCKET
    keeper = Keeper(
        socket.gethostname(), os.getpid(), _started(os.getpid()) or 0, str(path), kept.chain.hex(), nodes
    )
    path.unlink(missing_ok=True)
    with _Server(str(path), kept) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _write(chain_dir, keeper)
        os.write(said_to, _line(asdict(keeper)))
        os.close(said_to)
        while not ended.wait(limits.STANDING_POLL_S) and not kept.wait(0):
            pass
        server.shutdown()
    path.unlink(missing_ok=True)
    sys.exit(_ended(chain_dir, keeper, kept))


def _ended(chain_dir: Path, keeper: Keeper, kept: Service) -> int:
    """Drain, and say how it ended to who asks later."""
    try:
        kept.stop()
    except ScichainError as error:
        _write(chain_dir, Keeper(**asdict(keeper) | {"error": str(error)}))
        return error.exit_code
    finally:
        for directory in (Path(keeper.socket).parent, Path(keeper.socket).parents[1]):
            try:
                directory.rmdir()
            except OSError:
                break  # another chain's or a later service's
    _state_file(chain_dir).unlink(missing_ok=True)
    return errors.EXIT_OK


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, path: str, kept: Service) -> None:
        self.kept = kept
        super().__init__(path, _Handler)


class _Handler(socketserver.StreamRequestHandler):
    """One run that takes part: it is told where the outboxes are, and its flushes are run."""

    server: _Server

    def handle(self) -> None:
        kept = self.server.kept
        if _peer(self.request) != os.geteuid():
            return
        try:
            outboxes = [str(path) for path in kept.outboxes]
            self._say({"chain": kept.chain.hex(), "outboxes": outboxes, "spool": str(kept.spool)})
            while line := self.rfile.readline(limits.CONTROL_LINE_BYTES_MAX):
                self._flush(kept, json.loads(line)["flush"])
        except (OSError, ValueError, LookupError, TypeError):
            return  # it left, or is no client of ours

    def _flush(self, kept: Service, asked: dict[str, object]) -> None:
        run, timeout_s = bytes.fromhex(str(asked["run"])), float(str(asked["timeout_s"]))
        timeout_s = min(max(timeout_s, 0.0), limits.FLUSH_TIMEOUT_S_MAX)
        try:
            summary = kept.flush(run, timeout_s=timeout_s, progress=lambda *counts: self._say({"progress": counts}))
        except ScichainError as error:
            self._say({"error": str(error)})
            return
        value = asdict(summary) | {"head": summary.head.hex(), "trust_root": summary.trust_root.hex()}
        self._say({"flushed": value})

    def _say(self, value: dict[str, object]) -> None:
        self.wfile.write(_line(value))


def _summary(value: dict[str, object]) -> Summary:
    hashes = {name: bytes.fromhex(cast("str", value[name])) for name in ("head", "trust_root")}
    return Summary(**value | hashes)  # type: ignore[arg-type]  # what `_Handler` made of one


def _state_file(chain_dir: Path) -> Path:
    return chain_dir / "run" / "standing"


def _write(chain_dir: Path, keeper: Keeper) -> None:
    path = _state_file(chain_dir)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(_line(asdict(keeper)))
    temporary.replace(path)


def _line(value: dict[str, object]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _peer(connection: socket.socket) -> int:
    """The user at the other end, as the kernel says."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(data)[1])


def _started(pid: int) -> int | None:
    """When the process started; None if there is none or it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
