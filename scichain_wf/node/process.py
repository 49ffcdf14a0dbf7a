"""What every process does first, before it has an event loop (`control` is what it does with one).

Secrets come through standard input only, never by argument, environment or file. A process is made non-dumpable
before it holds any: no core file, and no other process of the same user may attach or read its memory.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from contextlib import suppress
from typing import Final, cast

from scichain_wf import limits
from scichain_wf.errors import PeerError

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_M_MMAP_THRESHOLD: Final = -3
_MMAP_THRESHOLD_BYTES: Final = 128 << 10
"""What glibc begins with; once it is said, it stays."""
STDIN: Final = 0
STDOUT: Final = 1


def protect(name: str) -> None:
    """Make this process non-dumpable and name it for `ps` (Linux; elsewhere nothing)."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this process cannot be made non-dumpable")
    libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def return_memory() -> None:
    """Let glibc give large buffers back to the kernel when they are freed, for good (elsewhere nothing).

    By itself it takes ever larger ones from the heap once it has seen them freed. Each TLS connection has one of
    256 KiB, so that an agent to which many connect kept the holes: attacked, it grew by 100 MB and more.
    """
    with suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)


def first_line() -> dict[str, object]:
    """The first line on standard input, read without taking a byte more.

    Raises:
        PeerError: no line, or not a JSON object.
    """
    data = bytearray()
    while not data.endswith(b"\n"):
        byte = os.read(STDIN, 1)  # one by one: what follows belongs to the event loop
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


def reply(value: dict[str, object]) -> None:
    """One line to whoever started this process; nobody there is no error."""
    try:
        os.write(STDOUT, json.dumps(value).encode() + b"\n")
    except OSError:
        return  # its end is told by standard input


def broken_off() -> None:
    """What died in this process's place may have left half a line: what follows begins a new one."""
    with suppress(OSError):
        os.write(STDOUT, b"\n")


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
