"""What agents and the storage node say to each other besides the protocol: joining, synchronising, flushing.

Each is a frame of kind 32 or above whose payload is a JSON object (`QUERY`, `KNOWN`, `FILTER` and `COSIGNED` are
binary). Who may say what: an agent says HELLO, PROBE, READY, STATUS, QUERY, FILTER_WANTED, COSIGNED and BYE; the
storage node says WELCOME, FLUSH, RELEASE, ADOPT, KNOWN, CHECKPOINT, FILTER, PEERS, PROBED and DISMISSED.
"""

from __future__ import annotations

import ipaddress
import json
from enum import IntEnum
from typing import Final, cast

from scichain_wf import limits
from scichain_wf.consensus.membership import Join
from scichain_wf.crypto.signing import VerifyKey
from scichain_wf.errors import DecodeError, PeerError
from scichain_wf.ledger.filter import SALT_BYTES
from scichain_wf.model.canonical import is_unicode
from scichain_wf.model.text import hex_bytes

_QUERIED: Final = 48
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64


class Kind(IntEnum):
    """First byte of a frame; the protocol's own kinds are below 32."""

    HELLO = 32
    """An agent: its join, its address, the newest link it has."""
    WELCOME = 33
    """Where the links that follow begin, the tree before them, and the other agents' addresses."""
    READY = 34
    """An agent: it is a member and its channels stand."""
    FLUSH = 35
    """Get everything in the outbox committed and report; with `drain` also close the outbox."""
    STATUS = 36
    """An agent's report during a flush."""
    RELEASE = 37
    """Nothing is under way anywhere that could resolve a held transaction: propose what is held."""
    ADOPT = 38
    """Take over the outbox of an agent that died."""
    QUERY = 39
    """An agent: which of these transactions (key, id) are committed?"""
    KNOWN = 40
    """The answer: one byte each, in order."""
    CHECKPOINT = 42
    """The newest signed tree head (C2SP text)."""
    FILTER_WANTED = 43
    """An agent: its tail begins at this height; what was produced before it?"""
    FILTER = 44
    """The answer: the height (8 bytes), then the filter."""
    PEERS = 45
    """Where agents are that joined after the one that is told."""
    DISMISSED = 47
    """Why an agent is not wanted; `for_good`: it need not come back."""
    PROBE = 48
    """Instead of HELLO, by who asks whether it would be reached: its address, and a word to be said there."""
    PROBED = 49
    """The answer: why it was not reached, and the storage node's time."""
    COSIGNED = 50
    """An agent's signature of the newest checkpoint, which is of the links that it has."""
    BYE = 46
    """An agent: its outbox is closed, all that was in it is committed, and it ends."""


def encoded(value: dict[str, object]) -> bytes:
    """Payload of a JSON message."""
    return json.dumps(value, separators=(",", ":")).encode()


def decoded(payload: bytes) -> dict[str, object]:
    """Inverse of `encoded`.

    Raises:
        PeerError: not a JSON object.
    """
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        value = None
    if type(value) is not dict:
        raise PeerError("a message is not a JSON object")
    return cast("dict[str, object]", value)


def integer(value: dict[str, object], name: str) -> int:
    """A field that must be a non-negative integer; `PeerError` if it is not."""
    number = value.get(name)
    if type(number) is not int or not 0 <= number <= limits.INTEGER_MAX:
        raise PeerError(f"a message's field {name!r} is not a number")
    return number


def text(value: dict[str, object], name: str, chars_max: int = limits.NAME_CHARS_MAX) -> str:
    """A field that must be text of bounded length; `PeerError` if it is not."""
    found = value.get(name)
    if type(found) is not str or len(found) > chars_max:
        raise PeerError(f"a message's field {name!r} is not text")
    return found


def raw(value: dict[str, object], name: str, size_bytes: int) -> bytes:
    """A field that must be so many bytes, in hex; `PeerError` if it is not."""
    try:
        return hex_bytes(text(value, name, 2 * size_bytes), size_bytes)
    except DecodeError:
        raise PeerError(f"a message's field {name!r} is not {size_bytes} bytes in hex") from None


def filter_wanted(payload: bytes) -> tuple[int, bytes]:
    """Height and salt of a FILTER_WANTED message; `PeerError` if it is malformed."""
    value = decoded(payload)
    return integer(value, "height"), raw(value, "salt", SALT_BYTES)


def address(value: dict[str, object], name: str) -> tuple[str, int]:
    """A field that must be [IP address, port]; `PeerError` if it is not: others are told to dial it."""
    match value.get(name):
        case [str(host), int(port)] if type(port) is int and 1 <= port <= limits.PORT_MAX and _is_address(host):
            return host, port
    raise PeerError(f"a message's field {name!r} is not an address")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host  # what follows it is any text, and means something on its own host only


def listening(value: dict[str, object]) -> tuple[str, tuple[int, int]]:
    """The host and the ports to listen on, as a first line says it; `PeerError` if it does not."""
    match value.get("listen"):
        case [str(host), int(first), int(last)]:
            return host, (first, last)
    raise PeerError("a first line does not say where to listen")


def join_value(join: Join) -> dict[str, object]:
    """A join as JSON."""
    return {
        "slot": join.slot,
        "token": join.token.raw.hex(),
        "certificate": join.certificate.hex(),
        "key": join.key.raw.hex(),
        "binding": join.binding.hex(),
        "host": join.host,
    }


def join_from(value: dict[str, object]) -> Join:
    """Inverse of `join_value`; its signatures are checked when it enters an epoch.

    Raises:
        PeerError: not a join.
    """
    try:
        token, key = (VerifyKey.from_bytes(raw(value, name, _KEY_BYTES)) for name in ("token", "key"))
    except DecodeError as error:
        raise PeerError(f"a join is malformed: {error}") from None
    certificate, binding = (raw(value, name, _SIGNATURE_BYTES) for name in ("certificate", "binding"))
    host = text(value, "host")
    if not host or not is_unicode(host):
        raise PeerError("a join's host has no name that can be recorded")
    return Join(integer(value, "slot"), token, certificate, key, binding, host)


def query(transactions: list[tuple[bytes, bytes]]) -> bytes:
    """Payload of QUERY: (key, id) each."""
    return b"".join(key + identity for key, identity in transactions)


def queried(payload: bytes) -> list[tuple[bytes, bytes]]:
    """Inverse of `query`.

    Raises:
        PeerError: not whole, or too many.
    """
    if len(payload) % _QUERIED or len(payload) > limits.QUERY_TRANSACTIONS_MAX * _QUERIED:
        raise PeerError("a query is malformed")
    return [(payload[at : at + 16], payload[at + 16 : at + _QUERIED]) for at in range(0, len(payload), _QUERIED)]
