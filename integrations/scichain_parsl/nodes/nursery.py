"""Forks workers: a process that has loaded Parsl, and neither a key nor an event loop nor a thread.

The runner asks for a worker by sending it one end of a pair of sockets; the fork serves that socket until it is closed.
Each worker leads a process group of its own, so that what its task started ends with it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn, Self

_PR_SET_PDEATHSIG: Final = 1
_WORKER: Final = b"w"
_KILL: Final = b"k"


class Nursery:
    """The runner's side.

    Args:
        control: the socket to the process that forks.
        pid: of that process.
    """

    def __init__(self, control: socket.socket, pid: int) -> None:
        self._control, self.pid = control, pid

    @classmethod
    def forked(cls, prepare: Callable[[], Callable[[socket.socket], None]]) -> Self:
        """Make it a fork of this process, which must still have one thread and no secrets.

        Args:
            prepare: run there once, for what all workers shall have loaded; returns what a worker does with its socket.
        """
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _serve(theirs, prepare)
        theirs.close()
        return cls(ours, pid)

    def worker(self) -> socket.socket:
        """The socket of a new worker.

        Raises:
            OSError: the nursery is gone.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [_WORKER], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        return ours

    def kill_workers(self) -> None:
        """End every worker at once, with what its task started."""
        with suppress(OSError):  # it is gone, and they with it
            self._control.send(_KILL)

    def close(self) -> None:
        """End it and every worker."""
        self._control.close()
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _serve(control: socket.socket, prepare: Callable[[], Callable[[socket.socket], None]]) -> NoReturn:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the runner says when it is over
    life = prepare()
    gc.freeze()
    workers: set[int] = set()
    while True:
        try:
            said, sockets, _, _ = socket.recv_fds(control, 1, 1)
        except OSError:
            said, sockets = b"", []
        workers -= {pid for pid in workers if _is_reaped(pid)}
        if said == _WORKER:
            pid = os.fork()
            if pid == 0:
                control.close()
                _become(socket.socket(fileno=sockets[0]), life)
            os.close(sockets[0])
            workers.add(pid)
        else:
            for pid in workers:  # none is reaped, so the ids are theirs
                _kill(pid)
            if not said:
                os._exit(0)


def _is_reaped(pid: int) -> bool:
    """Whether this worker was dead; what its task started is then ended as well."""
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return False
    _kill(pid)
    os.waitpid(pid, 0)
    return True


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # one that has no group of its own yet


def end_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this signal when the parent dies (Linux; elsewhere nothing)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _become(connection: socket.socket, life: Callable[[socket.socket], None]) -> NoReturn:
    gc.unfreeze()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    with suppress(PermissionError):
        os.setsid()
    end_with_parent(signal.SIGKILL)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    try:
        life(connection)
    finally:
        with suppress(ValueError, AttributeError, OSError):  # a task may have closed them
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(0)
