"""Can a compute node's agent be reached? Asked before there is one, over a channel that says PROBE instead of HELLO.

Who asks listens where an agent would and has the slot's token, hence a certificate. The storage node dials that place
once and hands over the word it was given: what arrives shows that it was this listener that was reached.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scichain_wf import limits
from scichain_wf.errors import ConfigError, PeerError
from scichain_wf.node import wire
from scichain_wf.transport import tls
from scichain_wf.transport.channel import TlsChannel

if TYPE_CHECKING:
    from scichain_wf.node.site import Rendezvous
    from scichain_wf.transport.link import Address, Ports

_WORD_BYTES = 16


@dataclass(frozen=True, slots=True)
class Reached:
    """The storage node answered.

    Attributes:
        place: where this host listened.
        way_back: why the storage node did not reach that; "" if it did.
        ahead_s: how much its clock is ahead of this one, to the time that the question took.
    """

    place: Address
    way_back: str
    ahead_s: float


async def answer(payload: bytes) -> bytes:
    """The storage node's side: dial who asks, once, and say how that went. `PeerError` for a malformed question."""
    value = wire.decoded(payload)
    (host, port), word = wire.address(value, "address"), wire.raw(value, "word", _WORD_BYTES)
    reason = ""
    try:
        async with asyncio.timeout(limits.PROBE_S):
            _, writer = await asyncio.open_connection(host, port)
            writer.write(word.hex().encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
    except TimeoutError:
        reason = f"no answer within {limits.PROBE_S:g} s"
    except OSError as error:
        reason = _reason(error)
    return wire.encoded({"reason": reason, "time_us": time.time_ns() // 1_000})


async def ask(meeting: Rendezvous, context: ssl.SSLContext, host: str, ports: Ports) -> Reached:
    """The other side, on the compute node.

    Args:
        meeting: where the storage node is.
        context: with the certificate of a slot's token.
        host: where an agent would listen.
        ports: see `Ports`.

    Raises:
        ConfigError: nobody can listen there.
        PeerError: the storage node is not reached, is another one, or does not answer.
    """
    word, heard = secrets.token_hex(_WORD_BYTES), asyncio.Event()

    async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(len(word)) == word.encode():
            heard.set()
        writer.close()

    server = await _listening(called, host, ports)
    try:
        place = server.sockets[0].getsockname()[:2]
        began = time.time()
        value = await _answered(meeting, context, {"address": list(place), "word": word})
        middle = (began + time.time()) / 2
        reason = wire.text(value, "reason", limits.TEXT_CHARS_MAX)
        if not reason:
            with suppress(TimeoutError):
                await asyncio.wait_for(heard.wait(), limits.CLOSE_TIMEOUT_S)
            reason = "" if heard.is_set() else "it reached another process"
        return Reached(place, reason, wire.integer(value, "time_us") / 1_000_000 - middle)
    finally:
        server.close()


async def _listening(called: asyncio.streams._ClientConnectedCallback, host: str, ports: Ports) -> asyncio.Server:
    for port in range(ports[0], ports[1] + 1):
        try:
            return await asyncio.start_server(called, host, port)
        except OSError:
            continue
    raise ConfigError(f"no port from {ports[0]} to {ports[1]} of {host} can be listened on")


async def _answered(meeting: Rendezvous, context: ssl.SSLContext, question: dict[str, object]) -> dict[str, object]:
    where = f"{meeting.address[0]}:{meeting.address[1]}"
    try:
        async with asyncio.timeout(limits.PROBE_S):
            reader, writer = await asyncio.open_connection(
                *meeting.address, ssl=context, server_hostname=tls.STORAGE
            )
    except TimeoutError:
        raise PeerError(f"{where} does not answer within {limits.PROBE_S:g} s") from None
    except OSError as error:  # ssl.SSLError is one
        raise PeerError(f"{where}: {_reason(error)}") from None
    channel = TlsChannel(reader, writer)
    try:
        if tls.fingerprint(writer.get_extra_info("ssl_object")) != meeting.fingerprint:
            raise PeerError(f"{where} is another process than the chain's directory says")
        channel.send(wire.Kind.PROBE, wire.encoded(question))
        async with asyncio.timeout(2 * limits.PROBE_S):
            kind, payload = await channel.receive()
    except TimeoutError:
        raise PeerError(f"{where} accepts connections and does not answer") from None
    finally:
        channel.abort()
    if kind != wire.Kind.PROBED:
        raise PeerError(f"{where} answers something else: is it of another version?")
    return wire.decoded(payload)


def _reason(error: OSError) -> str:
    """In the system's words: asyncio's own repeat the address."""
    if error.errno is None or isinstance(error, ssl.SSLError):
        return str(error)
    return os.strerror(error.errno)
