"""Things that are no message: greetings that are no TLS, broken frames, real messages that were tampered with."""

from __future__ import annotations

import json
import random
import ssl
from functools import cache
from typing import Any

from scichain_wf import limits
from scichain_wf.consensus import messages
from scichain_wf.node import wire
from scichain_wf.transport import frames

Frame = tuple[int, bytes]

_KINDS = [*messages.Kind, *wire.Kind]
_FIELDS = [
    "slot", "token", "certificate", "key", "binding", "host", "address", "next", "height", "head", "checkpoint", "salt",
    "flush", "done", "pending", "committed", "quiet", "held", "block", "votes", "reason", "solution", "entries",
]  # fmt: skip
_VALUES: list[Any] = [
    None, True, -1, 0, 1, 2**53, 2**64, 10**30, 1.5, float("nan"), "", "\ud800", "\0", "x" * 5_000, "zz", "00" * 32,
    [], [[]], {}, ["127.0.0.1", 1], ["a\0b", 5], ["127.0.0.1", 70_000], {"a": {"b": []}},
]  # fmt: skip


@cache
def client_hello(version: ssl.TLSVersion) -> bytes:
    """How a TLS client of that version begins."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname="storage")
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake with nobody")


def raw_greeting(chance: random.Random) -> tuple[str, bytes]:
    """What somebody says who never gets through a handshake, and what it is called."""
    hello = client_hello(ssl.TLSVersion.TLSv1_3)
    match chance.randrange(7):
        case 0:
            return "nothing", b""
        case 1:
            return "garbage", chance.randbytes(chance.randint(1, 4_000))
        case 2:
            return "HTTP", b"GET /%d HTTP/1.1\r\nHost: storage\r\n\r\n" % chance.randrange(10**6)
        case 3:
            return "endless record", b"\x16\x03\x01\xff\xff" + bytes(chance.randrange(20_000))
        case 4:
            return "half a hello", hello[: chance.randrange(1, len(hello))]
        case 5:
            return "TLS 1.2", client_hello(ssl.TLSVersion.TLSv1_2)
    return "tampered hello", _flipped(chance, hello)


def broken(chance: random.Random) -> tuple[str, bytes]:
    """A frame that is none, or whose payload is none."""
    kind = chance.choice(_KINDS) if chance.random() < 0.8 else chance.randrange(256)
    match chance.randrange(6):
        case 0:
            return "oversize", frames.HEADER.pack(kind, chance.randrange(limits.FRAME_BYTES_MAX + 1, 2**32))
        case 1:
            return "heartbeat with a payload", frames.HEADER.pack(frames.HEARTBEAT, 5) + b"hello"
        case 2:
            return "garbage", _framed(kind, chance.randbytes(chance.randrange(2_000)))
        case 3:
            return "parts that are none", _framed(kind, messages.pack(*(chance.randbytes(9) for _ in range(3)))[:-1])
        case 4:
            return "deep JSON", _framed(kind, b"[" * chance.randrange(1, 60_000))
    value = {chance.choice(_FIELDS): chance.choice(_VALUES) for _ in range(chance.randrange(8))}
    return "strange JSON", _framed(kind, json.dumps(value).encode())


def tampered(chance: random.Random, corpus: list[Frame]) -> tuple[str, bytes]:
    """A real message, changed somewhere; or whole, from somebody who may not send it."""
    kind, payload = chance.choice(corpus)
    match chance.randrange(6):
        case 0:
            return "replayed", _framed(chance.choice([messages.Kind.PROPOSE, messages.Kind.VERDICTS, kind]), payload)
        case 1:
            return "cut", _framed(kind, payload[: chance.randrange(len(payload) + 1)])
        case 2:
            return "other kind", _framed(chance.choice(_KINDS), payload)
        case 3:
            at = chance.randrange(len(payload) + 1)
            return "inserted", _framed(kind, payload[:at] + chance.randbytes(chance.randint(1, 9)) + payload[at:])
        case 4:
            return "fields exchanged", _framed(kind, _exchanged(chance, payload))
    return "bits flipped", _framed(kind, _flipped(chance, payload))


def _framed(kind: int, payload: bytes) -> bytes:
    return frames.HEADER.pack(kind, len(payload)) + payload


def _flipped(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _exchanged(chance: random.Random, payload: bytes) -> bytes:
    """With another value at one place of its JSON, if it is JSON."""
    try:
        value = json.loads(payload)
    except ValueError:
        return _flipped(chance, payload)
    inner = value
    while isinstance(inner, dict) and inner:
        name = chance.choice(list(inner))
        if not isinstance(inner[name], dict) or chance.random() < 0.3:
            inner[name] = chance.choice(_VALUES)
            break
        inner = inner[name]
    return json.dumps(value).encode()
