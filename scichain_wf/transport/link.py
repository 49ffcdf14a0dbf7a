"""Accepting connections, and keeping one up: loopback by default, bounded, reconnecting with jitter.

Who connects is a stranger until `serve` admits it. A stranger has HELLO_TIMEOUT_S for its handshake and all that is
asked of it before; there are never more than STRANGERS_MAX, and those who dawdle make room for others.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from scichain_wf import limits
from scichain_wf.errors import ConfigError, PeerError, reason_of
from scichain_wf.transport.channel import TlsChannel

Address = tuple[str, int]
Ports = tuple[int, int]
"""First and last port to choose from; (0, 0): the system chooses."""
Serve = Callable[[TlsChannel], Awaitable[None]]
LOOPBACK = "127.0.0.1"
_BY_THE_CLOCK = {9, 10}
"""OpenSSL's codes of certificates that are not valid yet, or no longer."""


class Listener:
    """Accepts TLS connections and runs `serve` on each until it returns or raises `PeerError`.

    Args:
        context: from `tls.server_context`.
        serve: what to do with a channel. Its peer is authenticated; whether it may say anything here is for `serve` to
            decide before it receives, and to be said by `admit`.
        note: told in words why a connection was dropped; of many in a short time only how many.
    """

    def __init__(self, context: ssl.SSLContext, serve: Serve, note: Callable[[str], None]) -> None:
        self._context, self._serve, self._note = context, serve, _Seldom(note)
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._strangers: dict[asyncio.Task[None], float] = {}  # since when, the oldest first

    async def start(self, host: str = LOOPBACK, ports: Ports = (0, 0)) -> Address:
        """Listen on the first port that is free; returns the address.

        Raises:
            ConfigError: there is none, or this host does not have that address.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        for port in range(ports[0], ports[1] + 1):
            try:
                self._socket = socket.create_server((host, port), family=family, backlog=limits.STRANGERS_MAX)
            except OSError as error:
                if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                    continue
                raise ConfigError(f"cannot listen on {host}: {error.strerror}; choose another interface") from None
            self._socket.setblocking(False)
            self._accepting = asyncio.create_task(self._accept(self._socket))
            address = self._socket.getsockname()
            return str(address[0]), int(address[1])
        raise ConfigError(f"no port from {ports[0]} to {ports[1]} is free on {host}: choose another port range")

    async def close(self) -> None:
        """Stop accepting and end every connection."""
        tasks = {*self._tasks, *filter(None, [self._accepting])}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            await self._room()
            try:
                connection, address = await asyncio.get_running_loop().sock_accept(listening)
            except OSError as error:  # no descriptor left, or it was gone before it was accepted
                self._note(f"a connection cannot be accepted: {error.strerror}")
                await asyncio.sleep(limits.RECONNECT_S)
                continue
            if len(self._tasks) >= limits.CONNECTIONS_MAX:
                self._note(f"{len(self._tasks)} connections are open: no more are accepted")
                connection.close()
                continue
            self._begin(self._one(connection, f"{address[0]}:{address[1]}"))

    async def _room(self) -> None:
        """Return when there may be another stranger: the oldest has to go if it has had its chance."""
        loop = asyncio.get_running_loop()
        while len(self._strangers) >= limits.STRANGERS_MAX:
            oldest, since = next(iter(self._strangers.items()))
            left_s = since + limits.STRANGER_S - loop.time()
            if left_s <= 0:
                del self._strangers[oldest]
                oldest.cancel()
                self._note("a connection that did not say who it is made room for another")
            else:
                await asyncio.wait(self._strangers, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)

    def _begin(self, serving: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(serving)
        self._tasks.add(task)
        self._strangers[task] = asyncio.get_running_loop().time()
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._strangers.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": "a connection failed", "exception": error, "task": task}
            asyncio.get_running_loop().call_exception_handler(context)

    async def _one(self, connection: socket.socket, who: str) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            async with asyncio.timeout(limits.HELLO_TIMEOUT_S) as bound:

                def admitted() -> None:
                    bound.reschedule(None)
                    self._strangers.pop(task, None)  # type: ignore[arg-type]  # this runs in a task

                transport, _ = await loop.connect_accepted_socket(
                    lambda: protocol,
                    connection,
                    ssl=self._context,
                    ssl_handshake_timeout=limits.HELLO_TIMEOUT_S,
                    ssl_shutdown_timeout=limits.CLOSE_TIMEOUT_S,
                )
                writer = asyncio.StreamWriter(transport, protocol, reader, loop)
                await _run(reader, writer, self._serve, self._note, admitted)
        except TimeoutError:
            self._note(f"{who} did not say who it is within {limits.HELLO_TIMEOUT_S:g} s")
        except OSError as error:  # ssl.SSLError is one
            self._note(f"{who} was dropped in the handshake: {_reason(error)}")
            error.with_traceback(None)  # asyncio's frames hold the error: a cycle with all buffers of the connection


class _Seldom:
    """Passes notes on, but of many in a short time only the first, and how many there were: a log has a disk."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._until, self._said, self._left_out = float("-inf"), 0, 0

    def __call__(self, text: str) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._until:
            if self._left_out:
                self._note(f"{self._left_out} more connections were dropped before this")
            self._until, self._said, self._left_out = now + limits.NOTES_S, 0, 0
        if self._said < limits.NOTES_MAX:
            self._said += 1
            self._note(text)
        else:
            self._left_out += 1


async def keep_connected(
    address: Address, context: ssl.SSLContext, name: str, serve: Serve, note: Callable[[str], None]
) -> None:
    """Dial the process called `name` for ever; run `serve` on every connection that stands. Ends by cancellation."""
    pause_s = limits.RECONNECT_S
    while True:
        try:
            reader, writer = await asyncio.open_connection(
                *address,
                ssl=context,
                server_hostname=name,
                ssl_handshake_timeout=limits.HELLO_TIMEOUT_S,
                ssl_shutdown_timeout=limits.CLOSE_TIMEOUT_S,
            )
        except OSError as error:  # ssl.SSLError is one
            note(f"cannot reach {name} at {address[0]}:{address[1]}: {_reason(error)}")
        else:
            started = asyncio.get_running_loop().time()
            await _run(reader, writer, serve, note)
            if asyncio.get_running_loop().time() - started > limits.RECONNECT_S_MAX:
                pause_s = limits.RECONNECT_S
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(2 * pause_s, limits.RECONNECT_S_MAX)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _BY_THE_CLOCK:
        return f"{error.verify_message}; certificates are of this run: compare the clocks of the two hosts"
    return reason_of(error)


async def _run(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    serve: Serve,
    note: Callable[[str], None],
    admitted: Callable[[], None] = lambda: None,
) -> None:
    channel: TlsChannel | None = None
    try:
        channel = TlsChannel(reader, writer, admitted)
        await serve(channel)
    except PeerError as error:
        note(str(error))
    finally:
        if channel is not None:
            channel.abort()
        else:
            writer.transport.abort()
