"""Accepting connections, and keeping one up: loopback by default, bounded, reconnecting with jitter."""

from __future__ import annotations

import asyncio
import errno
import random
import ssl
from collections.abc import Awaitable, Callable

from scichain_wf import limits
from scichain_wf.errors import ConfigError, PeerError
from scichain_wf.transport.channel import TlsChannel

Address = tuple[str, int]
Ports = tuple[int, int]
"""First and last port to choose from; (0, 0): the system chooses."""
Serve = Callable[[TlsChannel], Awaitable[None]]
LOOPBACK = "127.0.0.1"


class Listener:
    """Accepts TLS connections and runs `serve` on each until it returns or raises `PeerError`.

    Args:
        context: from `tls.server_context`.
        serve: what to do with a channel; its peer is authenticated, what it may do is for `serve` to decide.
        note: told in words why a connection was dropped.
    """

    def __init__(self, context: ssl.SSLContext, serve: Serve, note: Callable[[str], None]) -> None:
        self._context, self._serve, self._note = context, serve, note
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str = LOOPBACK, ports: Ports = (0, 0)) -> Address:
        """Listen on the first port that is free; returns the address.

        Raises:
            ConfigError: there is none, or this host does not have that address.
        """
        for port in range(ports[0], ports[1] + 1):
            try:
                self._server = await asyncio.start_server(
                    self._accepted,
                    host,
                    port,
                    ssl=self._context,
                    ssl_handshake_timeout=limits.HELLO_TIMEOUT_S,
                    ssl_shutdown_timeout=limits.CLOSE_TIMEOUT_S,
                )
            except OSError as error:
                if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                    continue
                raise ConfigError(f"cannot listen on {host}: {error.strerror}; choose another interface") from None
            address = self._server.sockets[0].getsockname()
            return str(address[0]), int(address[1])
        raise ConfigError(f"no port from {ports[0]} to {ports[1]} is free on {host}: choose another port range")

    async def close(self) -> None:
        """Stop accepting and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= limits.CONNECTIONS_MAX:
            writer.transport.abort()
            return
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await _run(reader, writer, self._serve, self._note)
        except asyncio.CancelledError:
            return  # by `close`; asyncio would report a cancelled connection as an error


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
            note(f"cannot reach {name} at {address[0]}:{address[1]}: {error}")
        else:
            started = asyncio.get_running_loop().time()
            await _run(reader, writer, serve, note)
            if asyncio.get_running_loop().time() - started > limits.RECONNECT_S_MAX:
                pause_s = limits.RECONNECT_S
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(2 * pause_s, limits.RECONNECT_S_MAX)


async def _run(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, serve: Serve, note: Callable[[str], None]
) -> None:
    channel: TlsChannel | None = None
    try:
        channel = TlsChannel(reader, writer)
        await serve(channel)
    except PeerError as error:
        note(str(error))
    finally:
        if channel is not None:
            channel.abort()
        else:
            writer.transport.abort()
