"""One worker: takes a task from its socket, runs it, and gives back what came of it; until the socket is closed."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from contextlib import suppress
from typing import Any, Final

from parsl.app.errors import AppException, RemoteExceptionWrapper
from parsl.serialize import serialize, unpack_apply_message
from parsl.serialize.errors import SerializationError

import scichain_parsl.shim  # noqa: F401 - loaded once, before the fork
from scichain_parsl.nodes.messages import ITEM, Status
from scichain_wf import limits
from scichain_wf.errors import reason_of

LENGTH: Final = struct.Struct(">I")


def serve(connection: socket.socket) -> None:
    """A worker's life. The first thing it is told are variables for its environment."""
    stream = connection.makefile("rb")
    for end in (stream, connection):  # a process that a task forks would keep it open when this one dies unnoticed
        os.register_at_fork(after_in_child=end.close)
    os.environ.update(json.loads(stream.read(LENGTH.unpack(stream.read(LENGTH.size))[0])))
    while len(header := stream.read(ITEM.size)) == ITEM.size:
        number, _, length = ITEM.unpack(header)
        status, data = run(stream.read(length))
        for file in (sys.stdout, sys.stderr):
            with suppress(ValueError, AttributeError, OSError):  # the task may have closed it
                file.flush()
        connection.sendall(ITEM.pack(number, status, len(data)) + data)


def run(task: bytes) -> tuple[Status, bytes]:
    """Run a task as Parsl packed it: how it ended, and its result or exception as Parsl unpacks it."""
    try:
        function, args, kwargs = unpack_apply_message(task)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the future gets it
        return Status.UNREADABLE, _packed(_advised(error))
    try:
        return Status.OK, _result(function(*args, **kwargs), function)
    except SystemExit as error:
        return Status.ERROR, _packed(AppException(f"the task called exit({error.code!r}); raise an exception instead"))
    except BaseException as error:  # noqa: BLE001 - as above
        return Status.ERROR, _packed(error)


def _result(value: Any, function: Any) -> bytes:
    try:
        data: bytes = serialize(value, buffer_threshold=limits.TASK_BYTES_MAX)
    except Exception as error:
        if isinstance(value, RemoteExceptionWrapper):  # what Parsl returns for an app that raised
            return _packed(value.e_value)
        raise SerializationError(f"{getattr(function, '__name__', function)} (its result)") from error
    if len(data) > limits.TASK_BYTES_MAX:
        raise AppException(
            f"the result has {len(data)} bytes, allowed are {limits.TASK_BYTES_MAX}: return the name of a file"
        )
    return data


def _advised(error: BaseException) -> BaseException:
    """The same, saying what to do where a module is missing."""
    if isinstance(error, ImportError):
        advice = "install it there, or set PYTHONPATH in the provider's worker_init"
        said = f"{error}; a worker on {socket.gethostname()} cannot load this task: {advice}"
        error = type(error)(said, name=error.name, path=error.path)
    return error


def _packed(error: BaseException) -> bytes:
    if not isinstance(error, Exception):  # it would end whatever thread of the main process it is raised in
        error = AppException(f"the task raised {type(error).__name__}, which is no Exception: {reason_of(error)}")
    try:
        data: bytes = serialize(RemoteExceptionWrapper(type(error), error, error.__traceback__))
    except BaseException as trouble:  # noqa: BLE001 - user code pickles here
        said = f"{type(error).__name__}: {reason_of(error)}"
        plain = AppException(f"{said} (the exception itself does not pickle: {reason_of(trouble)})")
        data = serialize(RemoteExceptionWrapper(type(plain), plain, error.__traceback__))
    return data
