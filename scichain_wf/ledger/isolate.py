"""Reading a ledger file in child processes, so that a broken file cannot bring the reader down.

LMDB maps its file into memory: a truncated or altered file ends the process that reads it (SIGBUS, SIGSEGV, or an
assertion's SIGABRT). Whoever verifies must live to say so. Work is therefore cut into calls of module-level
functions, which a few children run one by one; a child that dies becomes a `Crash` as that call's outcome, and another
child takes its place. The same pool is what spreads verification over the cores.

Children are forked where that is safe (POSIX, one thread) and spawned elsewhere. A child keeps what a call left in
module-level caches (the open file), so calls of one pool are cheap after the first.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, Final, Generic, ParamSpec, Protocol, Self, TypeAlias, TypeVar

from scichain_wf.errors import LedgerCorrupt, LedgerError, ScichainError

_EXIT_S: Final = 5.0
_IDLE_EXIT_S: Final = 1.0
_FROM_OUTSIDE: Final = frozenset({"SIGKILL", "SIGTERM", "SIGHUP", "SIGXCPU"})
"""What no file's content does to its reader: the system, a batch system or a person did."""

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Crash:
    """A child died in a call. `cause` is the signal's name or the exit status in words."""

    cause: str


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A module-level function and its arguments: what can be sent to a child."""

    function: Callable[..., T]
    arguments: tuple[object, ...] = ()


Outcome: TypeAlias = T | ScichainError | Crash


class Runner(Protocol):
    """Runs calls and hands out their outcomes in the order of their ends."""

    def run(self, calls: Iterable[Call[T]]) -> Iterator[tuple[Call[T], Outcome[T]]]:
        """Run all `calls`; a `ScichainError` that a call raises is its outcome, anything else is raised here.

        Raises:
            LedgerError: somebody else ended a child.
        """


class Inline:
    """Runs calls in this process: for tests that are a child already. Nothing protects it."""

    def run(self, calls: Iterable[Call[T]]) -> Iterator[tuple[Call[T], Outcome[T]]]:
        """See `Runner`."""
        for call in calls:
            try:
                yield call, call.function(*call.arguments)
            except ScichainError as error:
                yield call, error


class Pool:
    """A few child processes; a context manager, whose children end with it."""

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs: Final = max(1, jobs or _cores())
        forkable = hasattr(os, "fork") and sys.platform != "darwin" and threading.active_count() == 1
        self._context = multiprocessing.get_context("fork" if forkable else "spawn")
        self._children: list[_Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A child forked later holds a copy of the pipe to one forked earlier, so the last one hears first.
        for child in reversed(self._children):
            child.end(_IDLE_EXIT_S)
        self._children.clear()

    def run(self, calls: Iterable[Call[T]]) -> Iterator[tuple[Call[T], Outcome[T]]]:
        """See `Runner`. Calls are taken from the iterable only as fast as children are free."""
        waiting = iter(calls)
        busy: dict[object, tuple[_Child, Call[T]]] = {}
        idle = deque(self._children)
        try:
            while True:
                while len(busy) < self.jobs and (call := next(waiting, None)) is not None:
                    child = idle.popleft() if idle else self._start()
                    child.send(call)
                    busy[child.pipe] = child, call
                if not busy:
                    return
                for ready in connection.wait([child.pipe for child, _ in busy.values()]):
                    child, call = busy.pop(ready)
                    outcome = child.receive()
                    if isinstance(outcome, Crash):
                        self._children.remove(child)
                        if outcome.cause in _FROM_OUTSIDE:
                            raise LedgerError(
                                f"a process that read the ledger was ended from outside with {outcome.cause}, as where "
                                "memory is short: nothing is known of the ledger by that; try again with more memory"
                            )
                    else:
                        idle.append(child)
                    if isinstance(outcome, BaseException) and not isinstance(outcome, ScichainError):
                        raise outcome
                    yield call, outcome
        finally:  # an abandoned run leaves children in the middle of a call: they are not fit for another
            for child, _ in busy.values():
                self._children.remove(child)
                child.end()

    def _start(self) -> _Child:
        child = _Child(self._context)
        self._children.append(child)
        return child


def isolated(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run one call in a child of its own.

    Raises:
        LedgerCorrupt: the child died: the file cannot be read.
        ScichainError: whatever `function` raises.
    """
    if kwargs:
        raise TypeError("arguments of an isolated call are positional")
    with Pool(1) as pool:
        return result(pool, function, *args)


def result(runner: Runner, function: Callable[..., T], *arguments: object) -> T:
    """The one outcome of one call on `runner`; errors as in `isolated`."""
    for _, outcome in runner.run([Call(function, arguments)]):
        if isinstance(outcome, Crash):
            raise LedgerCorrupt(f"the ledger file cannot be read: reading it ended a process with {outcome.cause}")
        if isinstance(outcome, ScichainError):
            raise outcome
        return outcome
    raise LedgerCorrupt("the ledger file cannot be read: no process answered")


class _Child:
    """One child process with its pipe."""

    def __init__(self, context: Any) -> None:
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self.pipe), daemon=True)
        self._process.start()
        other.close()

    def send(self, call: Call[Any]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: `receive` says how
            self.pipe.send(call)

    def receive(self) -> Any:
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(_EXIT_S)
            self.pipe.close()
            return Crash(_cause(self._process.exitcode))

    def end(self, patience_s: float = 0.0) -> None:
        """Let an idle child end by itself; end one that does not within `patience_s`."""
        self.pipe.close()
        self._process.join(patience_s)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(_EXIT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()


def _serve(pipe: connection.Connection, parents: connection.Connection) -> None:
    """A child's whole life: take a call, run it, answer; end when the parent is gone."""
    parents.close()
    faulthandler.disable()  # the parent says how a child died; its stack helps nobody
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends its children
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        try:
            call = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer: object = call.function(*call.arguments)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - it is raised again in the parent
            answer = error
        try:
            pipe.send(answer)
        except (BrokenPipeError, ConnectionResetError):
            return


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        try:
            return signal.Signals(-exitcode).name
        except ValueError:
            return f"signal {-exitcode}"
    return f"exit status {exitcode}"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
