"""Child processes: the storage process under its supervisor, and agents under the storage process.

Forking spares each of them the imports, which are most of a start. It happens while the parent has one thread, no
event loop, no key and no store. A forked agent closes every descriptor but its own three: its standard input carries
its first line and then stays open for as long as the storage node lives; its standard output carries nothing and ends
with it. An agent that is started later, or on another host, is the same program with the same first line.

The supervisor does nothing but fork the storage process again when a signal killed it. It has no key, reads no file
and keeps the pipes of the engine open meanwhile.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Final, NoReturn, Self

from scichain_wf import limits
from scichain_wf.client.lines import is_readable
from scichain_wf.errors import EXIT_INCOMPLETE, PeerError
from scichain_wf.node import process
from scichain_wf.node.log import Log

PROGRAM: Final = ("-P", "-m", "scichain_wf.node.main")
_DESCRIPTORS_MAX: Final = 65_536
_WAIT_STEP_S: Final = 0.01


class Child:
    """One agent process, waiting for its first line; `tell` it, then `watch` it."""

    def __init__(self, slot: int, pid: int, stdin: int, stdout: int) -> None:
        self.slot, self.pid = slot, pid
        self.alive = True
        self._input, self._output = stdin, stdout

    @classmethod
    def forked(cls, slot: int, run: Callable[[], int]) -> Self:
        """A copy of this process; `run` is its whole life and returns its exit code."""
        child_in, stdin = os.pipe()
        stdout, child_out = os.pipe()
        pid = os.fork()
        if pid == 0:
            _become(child_in, child_out, run)
        os.close(child_in)
        os.close(child_out)
        return cls(slot, pid, stdin, stdout)

    @classmethod
    def started(cls, slot: int) -> Self:
        """A process of its own, for when this one has threads and secrets."""
        child_in, stdin = os.pipe()
        stdout, child_out = os.pipe()
        pipes = [(os.POSIX_SPAWN_DUP2, child_in, 0), (os.POSIX_SPAWN_DUP2, child_out, 1)]
        try:
            pid = os.posix_spawn(sys.executable, [sys.executable, *PROGRAM], os.environ, file_actions=pipes)
        finally:
            os.close(child_in)
            os.close(child_out)
        return cls(slot, pid, stdin, stdout)

    def tell(self, first_line: dict[str, object]) -> None:
        """Write the line with the child's role and secrets; the pipe then stays open until `end`."""
        try:
            os.write(self._input, json.dumps(first_line).encode() + b"\n")  # less than a pipe holds: never waits
        except OSError:
            return  # it died: `watch` says so

    async def watch(self, died: Callable[[Child, int], None]) -> None:
        """Wait for the child's end, reap it, and say how it ended (a negative signal or an exit code)."""
        import asyncio  # the first child is there before anything else is imported

        reader = asyncio.StreamReader()
        output = os.fdopen(self._output, "rb", buffering=0)
        self._output = -1
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), output)
        await reader.read()
        transport.close()
        _, status = await loop.run_in_executor(None, os.waitpid, self.pid, 0)
        self.alive = False
        died(self, os.waitstatus_to_exitcode(status))

    def terminate(self) -> None:
        """SIGTERM: it shall drain its outbox and end."""
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)

    def said(self, timeout_s: float) -> bytes | None:
        """What it wrote on its standard output within a time: b"" at its end, None for nothing."""
        if not is_readable(self._output, timeout_s):
            return None
        return os.read(self._output, limits.CONTROL_LINE_BYTES_MAX)

    def reaped(self) -> int:
        """How it ended, once it says nothing more (a negative signal or an exit code)."""
        self.end()
        os.close(self._output)
        status = os.waitpid(self.pid, 0)[1]
        self.alive = False
        return os.waitstatus_to_exitcode(status)

    def end(self) -> None:
        """Close its standard input: an agent that reads this ends."""
        if self._input >= 0:
            os.close(self._input)
            self._input = -1

    def end_now(self) -> None:
        """For a start that failed: close its input and wait a moment, then kill it."""
        self.end()
        deadline = time.monotonic() + limits.AGENT_END_TIMEOUT_S
        while not self._is_gone():
            if time.monotonic() > deadline:
                self.kill()
                os.waitpid(self.pid, 0)
                self.alive = False
                return
            time.sleep(_WAIT_STEP_S)

    def kill(self) -> None:
        """SIGKILL to this child's own process id."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)

    def _is_gone(self) -> bool:
        try:
            if self.alive and os.waitpid(self.pid, os.WNOHANG)[0]:
                self.alive = False
        except ChildProcessError:
            self.alive = False  # reaped by `watch`
        return not self.alive


def supervised(run: Callable[[Callable[[], None]], int]) -> int:
    """Run `run` in a child until it ends by itself; returns its exit code. A child that a signal killed is replaced.

    Args:
        run: called with what it calls when it has got to work; a child that dies before counts as failed.
    """
    log, works = Log("supervisor"), mmap.mmap(-1, 1)
    pid, failures = 0, 0
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM) if pid else None)
    while True:
        works[0] = 0
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            sys.exit(run(lambda: works.__setitem__(0, 1)))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        failures = 1 if works[0] else failures + 1
        if code >= 0:
            return code
        if code == -signal.SIGTERM:  # told to end before it could end in order
            return EXIT_INCOMPLETE
        process.broken_off()
        if failures > limits.RESTARTS_MAX:
            raise PeerError(f"the storage process died {failures} times before it got to work (signal {-code})")
        log.warning("the storage process died and is started again", signal=-code)
        time.sleep(limits.RESTART_PAUSE_S * 2 ** (failures - 1))


def _become(child_in: int, child_out: int, run: Callable[[], int]) -> NoReturn:
    """The child's side of the fork: its own pipes, nobody else's, and never back into the caller."""
    os.dup2(child_in, 0)
    os.dup2(child_out, 1)
    os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), _DESCRIPTORS_MAX))
    sys.exit(run())
