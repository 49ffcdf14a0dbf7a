"""Which address of this host others shall find it at: an interface's, or one that is named."""

from __future__ import annotations

import fcntl
import ipaddress
import re
import socket
import struct
from typing import Final

from scichain_wf import limits
from scichain_wf.errors import ConfigError
from scichain_wf.transport.link import Ports

_SIOCGIFADDR: Final = 0x8915
_REQUEST: Final = struct.Struct("16s16x8x")
_PORTS: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?\Z")


def address_of(interface: str) -> str:
    """The IPv4 address of a network interface (`eth0`, `ib0`), or the address itself if it is one.

    Raises:
        ConfigError: this host has no such interface, or it has no IPv4 address.
    """
    try:
        return str(ipaddress.ip_address(interface))
    except ValueError:
        pass
    name = interface.encode()
    try:
        if not 0 < len(name) < 16 or b"\0" in name:  # IFNAMSIZ
            raise OSError
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            found = fcntl.ioctl(any_socket.fileno(), _SIOCGIFADDR, _REQUEST.pack(name))
    except OSError:
        known = ", ".join(name for _, name in socket.if_nameindex())
        raise ConfigError(
            f"{interface!r:.80} is neither an address nor an interface of this host with an IPv4 address; "
            f"its interfaces are: {known}"
        ) from None
    return socket.inet_ntoa(found[20:24])  # struct ifreq: name (16), family (2), port (2), address (4)


def port_range(text: str) -> Ports:
    """First and last port of `20000-20100`, or of `20000`.

    Raises:
        ConfigError: not a port or a range of ports.
    """
    match = _PORTS.match(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= first <= last <= limits.PORT_MAX:
        raise ConfigError(f"{text!r:.80} is not a range of ports: write for instance 20000-20100")
    return first, last
