"""Agents as child processes: forked before there is anything to share, told their secrets through a pipe.

Forking spares each agent the imports, which are most of a start. It happens while this process has one thread, no
event loop, no key and no store; a child closes every descriptor but its own three. Its standard input carries its
first line and then stays open for as long as the storage node lives; its standard output carries nothing and ends
with it. An agent that is started later, or on another host, is the same program with the same first line.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Final, NoReturn

from scichain_wf import limits

_DESCRIPTORS_MAX: Final = 65_536
_WAIT_STEP_S: Final = 0.01


class Child:
    """One agent process, waiting for its first line; `run` is its whole life and returns its exit code."""

    def __init__(self, slot: int, run: Callable[[], int]) -> None:
        self.slot = slot
        self.alive = True
        child_in, self._input = os.pipe()
        self._output, child_out = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _become(child_in, child_out, run)
        os.close(child_in)
        os.close(child_out)

    def tell(self, first_line: dict[str, object]) -> None:
        """Write the line with the child's role and secrets; the pipe then stays open until `end`."""
        try:
            os.write(self._input, json.dumps(first_line).encode() + b"\n")  # less than a pipe holds: never waits
        except OSError:
            return  # it died: `watch` says so

    async def watch(self, died: Callable[[Child, int], None]) -> None:
        """Wait for the child's end, reap it, and say how it ended (a negative signal or an exit code)."""
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


def _become(child_in: int, child_out: int, run: Callable[[], int]) -> NoReturn:
    """The child's side of the fork: its own pipes, nobody else's, and never back into the caller."""
    os.dup2(child_in, 0)
    os.dup2(child_out, 1)
    os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), _DESCRIPTORS_MAX))
    sys.exit(run())
