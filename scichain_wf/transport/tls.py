"""TLS 1.3, both sides with a certificate of the run's authority, and who the other side is.

A process's name (`storage`, `slot-3`) stands in its certificate. Who dials says whom it expects and the handshake
fails if another answers; who listens reads the name and decides what its sender may say.

Python's `ssl` reads private keys from files only, so they are handed over in an anonymous memory file that no other
process can open.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Final, cast

from scichain_wf.errors import PeerError
from scichain_wf.transport.credentials import Credentials

_SLOT: Final = "slot-"
STORAGE: Final = "storage"


def slot_name(slot: int) -> str:
    """What the agent of `slot` is called in its certificate."""
    return f"{_SLOT}{slot}"


def slot_of(name: str) -> int | None:
    """The slot of a name, or None for another process."""
    number = name.removeprefix(_SLOT)
    return int(number) if name.startswith(_SLOT) and number.isascii() and number.isdigit() else None


def server_context(credentials: Credentials) -> ssl.SSLContext:
    """For a listener: a client without a certificate of this run is refused in the handshake."""
    return _prepared(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), credentials)


def client_context(credentials: Credentials) -> ssl.SSLContext:
    """For dialling: the server must be the one that was asked for (`server_hostname`)."""
    context = _prepared(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), credentials)
    context.check_hostname = True
    return context


def peer_name(connection: ssl.SSLObject) -> str:
    """The name in the other side's certificate.

    Raises:
        PeerError: it has no certificate, or one that does not name exactly one process.
    """
    found = cast("dict[str, tuple[tuple[str, str], ...]]", connection.getpeercert() or {})
    names = [value for kind, value in found.get("subjectAltName", ()) if kind == "DNS"]
    if len(names) != 1:
        raise PeerError("the other side's certificate does not name one process")
    return names[0]


def fingerprint(connection: ssl.SSLObject) -> str:
    """SHA-256 of the other side's certificate in hex, as published for rendezvous."""
    return sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()


def _prepared(context: ssl.SSLContext, credentials: Credentials) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=credentials.authority)
    if context.protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # no resumption: every connection shows its certificate
    with _secret_file(credentials.certificate + credentials.key) as path:
        context.load_cert_chain(path)
    return context


@contextmanager
def _secret_file(text: str) -> Iterator[str]:
    """A path under which this process, and only while this lasts, can read `text`."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("scichain-wf", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile("w") as file:  # 0600, removed at once; only where there is no memory file
        file.write(text)
        file.flush()
        yield file.name
