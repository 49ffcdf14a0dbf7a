"""What the sockets of a process are, as the system says it. Linux, and only for who may look."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

_LISTENS = "0A"


def sockets(pid: int) -> set[int]:
    """Inodes of the sockets that a process has open."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = os.readlink(descriptor)
        except FileNotFoundError:
            continue  # closed meanwhile
        if match := re.fullmatch(r"socket:\[(\d+)\]", name):
            found.add(int(match[1]))
    return found


def kinds(pid: int) -> dict[int, str]:
    """Inode → the table of /proc/net that has it (`tcp`, `unix`, ...), for the sockets of a process."""
    own, found = sockets(pid), {}
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "unix", "netlink", "packet"):
        path = Path(f"/proc/{pid}/net/{table}")
        column = {"unix": 6, "netlink": 9, "packet": 8}.get(table, 9)
        for line in path.read_text().splitlines()[1:] if path.exists() else []:
            inode = int(line.split()[column])
            if inode in own:
                found[inode] = table
    return found


def listening(pid: int) -> list[tuple[str, int]]:
    """Where a process accepts TCP connections over IPv4."""
    own, found = sockets(pid), []
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == _LISTENS and int(fields[9]) in own:
            host, port = fields[1].split(":")
            found.append((socket.inet_ntoa(bytes.fromhex(host)[::-1]), int(port, 16)))
    return found
