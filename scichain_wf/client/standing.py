"""A service that stays: `scichain-wf up` starts it, runs join it, `scichain-wf down` ends it.

    <chain>/run/standing    who keeps it: host, process, and when that process started

The keeper is a process that starts the same service as an engine would, or joins the one that runs already, and
outlives the command that made it. Runs join it as they join any other run's.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from scichain_wf import errors, limits
from scichain_wf.client import service
from scichain_wf.client.lines import is_readable
from scichain_wf.client.service import Service
from scichain_wf.errors import LedgerError, PeerError, ScichainError


@dataclass(frozen=True, slots=True)
class Keeper:
    """The process that keeps a service.

    Attributes:
        host: where it runs.
        pid: its process id there.
        started: clock ticks from that host's boot to its start: another process may get the same pid.
        trust_root: the chain's id, as hex.
        nodes: how many agents there are.
        error: how it ended, if it did not end well.
    """

    host: str
    pid: int
    started: int
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
        wanted = {"pid": int, "started": int, "nodes": int}
        wrong = any(type(known) is not wanted.get(name, str) for name, known in asdict(keeper).items())
        if wrong or keeper.pid < 2:
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


def up(chain_dir: Path, nodes: int, metrics_dir: Path | None = None, burst: Path | None = None) -> Keeper:
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
        _become_keeper(chain_dir, nodes, metrics_dir, burst, theirs)
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
        if not is_readable(process, limits.STANDING_END_TIMEOUT_S):
            raise PeerError(f"process {keeper.pid} does not end: see run/storage.log, then `kill {keeper.pid}`")
    finally:
        os.close(process)


# --- the keeper ---------------------------------------------------------------------------------------
def _become_keeper(
    chain_dir: Path, nodes: int, metrics_dir: Path | None, burst: Path | None, said_to: int
) -> NoReturn:
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
        kept = service.attend(chain_dir, nodes, metrics_dir, burst)
    except ScichainError as error:
        os.write(said_to, _line({"class": type(error).__name__, "message": str(error)}))
        sys.exit(error.exit_code)
    keeper = Keeper(socket.gethostname(), os.getpid(), _started(os.getpid()) or 0, kept.chain.hex(), len(kept.outboxes))
    _write(chain_dir, keeper)
    os.write(said_to, _line(asdict(keeper)))
    os.close(said_to)
    while not ended.wait(limits.STANDING_POLL_S) and not kept.wait(0):
        pass
    sys.exit(_ended(chain_dir, keeper, kept))


def _ended(chain_dir: Path, keeper: Keeper, kept: Service) -> int:
    """Drain, and say how it ended to who asks later."""
    try:
        kept.stop()
    except ScichainError as error:
        _write(chain_dir, Keeper(**asdict(keeper) | {"error": str(error)}))
        return error.exit_code
    _state_file(chain_dir).unlink(missing_ok=True)
    return errors.EXIT_OK


def _state_file(chain_dir: Path) -> Path:
    return chain_dir / "run" / "standing"


def _write(chain_dir: Path, keeper: Keeper) -> None:
    path = _state_file(chain_dir)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(_line(asdict(keeper)))
    temporary.replace(path)


def _line(value: dict[str, object]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _started(pid: int) -> int | None:
    """When the process started; None if there is none or it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
