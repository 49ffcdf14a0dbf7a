"""How agents that a storage node did not start itself find it, and prove who they are.

    run/storage            where the running storage node listens, its certificate's fingerprint, its process id
    run/tokens/slot-<n>    what the agent of slot n needs to join (0600): a secret, new with every storage process

Both are replaced by rename, so that a reader on another host sees the old or the new one. Who has a slot's token may
fill the slot; that is why the file is the user's alone. The fingerprint in it says which storage process it is for.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, cast

from scichain_wf import keystore, limits
from scichain_wf.errors import ConfigError, PeerError
from scichain_wf.node import chain as chains
from scichain_wf.node import process, wire
from scichain_wf.transport import runca, tls
from scichain_wf.transport.credentials import Credentials
from scichain_wf.transport.link import Address, Ports

if TYPE_CHECKING:
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.node.launch import Launch
    from scichain_wf.transport.runca import RunAuthority

_FINGERPRINT: Final = "storage_fingerprint"
_PARTS: Final = {"chain": 32, "token": 32, "token_certificate": 64, "authority": 32}
"""What a token holds in hex, and how many bytes of it."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a storage node listens, and for whom besides the agents it starts.

    Attributes:
        host: an address of this host.
        ports: see `Ports`.
        slots: how many further agents others start; their slots follow those of its own.
        metrics: directory where it and its own agents leave their figures.
        burst: the directory of this host's burst buffer, if it has one.
    """

    host: str
    ports: Ports
    slots: int
    metrics: Path
    burst: Path | None = None

    @classmethod
    def from_line(cls, value: dict[str, object]) -> Self:
        """From a first line; `PeerError` if it is malformed."""
        metrics = Path(wire.text(value, "metrics", limits.PATH_BYTES_MAX))
        name = wire.text(value, "burst_buffer", limits.PATH_BYTES_MAX) if value.get("burst_buffer") else ""
        return cls(*wire.listening(value), wire.integer(value, "slots"), metrics, Path(name) if name else None)


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """The storage node that runs on a chain."""

    address: Address
    fingerprint: str
    pid: int

    @classmethod
    def read(cls, layout: ChainLayout) -> Self | None:
        """What the chain's directory says; None where no storage node runs.

        Raises:
            ConfigError: it cannot be read, or is something else.
        """
        path = layout.run_dir / "storage"
        try:
            with path.open("rb") as file:
                words = file.read(limits.CONTROL_LINE_BYTES_MAX).decode(errors="replace").split()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        try:
            address, fingerprint, pid = words
            host, _, port = address.rpartition(":")
            return cls(wire.address({"a": [host, int(port)]}, "a"), fingerprint, int(pid))
        except (ValueError, PeerError):
            raise ConfigError(f"{path} does not say where the storage node is; it is made by `storage`") from None


def token_file(layout: ChainLayout, slot: int) -> Path:
    """Where the token of `slot` is."""
    return layout.run_dir / "tokens" / f"slot-{slot}"


def publish(
    layout: ChainLayout, launch: Launch, run: RunAuthority, own: Credentials, address: Address, slots: range
) -> None:
    """Let the agents of `slots` join the storage node with the credentials `own` at `address`."""
    fingerprint = runca.fingerprint(own.certificate)
    for slot in slots:
        path = token_file(layout, slot)
        new = path.with_name(f".{path.name}")
        new.unlink(missing_ok=True)
        keystore.save_secret(new, wire.encoded(launch.ticket(slot, run) | {_FINGERPRINT: fingerprint}) + b"\n")
        new.replace(path)
    # After the tokens: who sees this finds those of the same process.
    chains.replace_file(layout.run_dir / "storage", f"{address[0]}:{address[1]} {fingerprint} {os.getpid()}\n")


def withdraw(layout: ChainLayout) -> None:
    """Nobody can join any more."""
    (layout.run_dir / "storage").unlink(missing_ok=True)
    shutil.rmtree(token_file(layout, 0).parent, ignore_errors=True)


def ticket_for(path: Path, slot: int, meeting: Rendezvous) -> dict[str, object] | None:
    """What a token file says, if it is for that storage process; None if it is for another.

    Raises:
        ConfigError: it cannot be read, others may read it, or it is no token.
    """
    data = keystore.load_secret(path, limits.CONTROL_LINE_BYTES_MAX)
    try:
        ticket = process.decoded(data)
        fingerprint, named = wire.text(ticket, _FINGERPRINT), wire.integer(ticket, "slot")
        for name, size_bytes in _PARTS.items():
            wire.raw(ticket, name, size_bytes)
        tls.client_context(Credentials(**cast("dict[str, str]", ticket["credentials"])))
    except (PeerError, LookupError, TypeError, OSError):  # ssl.SSLError is one
        raise ConfigError(f"{path} is not a join token: `scichain-wf storage` makes one per slot") from None
    if named != slot:
        raise ConfigError(f"{path} is the token of slot {named}, not of slot {slot}")
    return ticket if fingerprint == meeting.fingerprint else None


def chain_of(ticket: dict[str, object]) -> bytes:
    """The chain id in a ticket."""
    return bytes.fromhex(cast("str", ticket["chain"]))
