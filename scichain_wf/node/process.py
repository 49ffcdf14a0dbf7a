"""What every process does first, and the pipes between them.

Secrets come through standard input only, never by argument, environment or file. A process is made non-dumpable
before it holds any: no core file, and no other process of the same user may attach or read its memory.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, cast

from scichain_wf import limits
from scichain_wf.errors import PeerError

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_STDIN: Final = 0
_STDOUT: Final = 1


def protect(name: str) -> None:
    """Make this process non-dumpable and name it for `ps` (Linux; elsewhere nothing)."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this process cannot be made non-dumpable")
    libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def first_line() -> dict[str, object]:
    """The first line on standard input, read without taking a byte more.

    Raises:
        PeerError: no line, or not a JSON object.
    """
    data = bytearray()
    while not data.endswith(b"\n"):
        byte = os.read(_STDIN, 1)  # one by one: what follows belongs to the event loop
        if not byte or len(data) > limits.CONTROL_LINE_BYTES_MAX:
            raise PeerError("no first line on standard input: this program is started by others, not by hand")
        data += byte
    return decoded(bytes(data))


def decoded(line: bytes) -> dict[str, object]:
    """The object of one control line; `PeerError` if it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if type(value) is not dict:
        raise PeerError("a control line is not a JSON object")
    return cast("dict[str, object]", value)


async def lines() -> AsyncIterator[dict[str, object]]:
    """Control lines on standard input, until its other end is closed."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limits.CONTROL_LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(_STDIN, "rb", closefd=False))
    while line := await reader.readline():
        yield decoded(line)


def reply(value: dict[str, object]) -> None:
    """One line to whoever started this process; nobody there is no error."""
    try:
        os.write(_STDOUT, json.dumps(value).encode() + b"\n")
    except OSError:
        return  # its end is told by standard input


def broken_off() -> None:
    """What died in this process's place may have left half a line: what follows begins a new one."""
    with suppress(OSError):
        os.write(_STDOUT, b"\n")


class Replies(asyncio.BaseProtocol):
    """Lines to whoever started this process, without ever waiting for it to read them."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._lost = asyncio.Event()

    async def open(self) -> None:
        """Take over standard output."""
        pipe = os.fdopen(_STDOUT, "wb", buffering=0, closefd=False)
        self._transport, _ = await asyncio.get_running_loop().connect_write_pipe(lambda: self, pipe)

    def connection_lost(self, _error: Exception | None) -> None:
        """Everything is written, or nobody is there."""
        self._lost.set()

    def say(self, value: dict[str, object]) -> None:
        """A line that must arrive."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(json.dumps(value).encode() + b"\n")

    def hint(self, value: dict[str, object]) -> None:
        """A line that may get lost: it is left out while others wait to be read."""
        if self._transport is not None and not self._transport.get_write_buffer_size():
            self.say(value)

    async def close(self) -> None:
        """Give what is not read yet a moment."""
        if self._transport is None:
            return
        self._transport.close()
        try:
            async with asyncio.timeout(limits.CLOSE_TIMEOUT_S):
                await self._lost.wait()
        except TimeoutError:
            self._transport.abort()


def parent_handle(pid: int) -> int | None:
    """A descriptor that tells when the parent process `pid` ends, even if others hold its pipes; None: no such thing.

    Raises:
        PeerError: it has ended.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        raise PeerError("the process that started this has ended") from None
    except OSError:
        return None
    if os.getppid() != pid:
        os.close(descriptor)
        raise PeerError("the process that started this has ended")
    return descriptor


async def end_of(handle: int | None) -> None:
    """Return when the process of a `parent_handle` has ended; without one, never."""
    ended = asyncio.Event()
    if handle is not None:
        asyncio.get_running_loop().add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        if handle is not None:
            asyncio.get_running_loop().remove_reader(handle)
