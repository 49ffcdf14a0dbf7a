"""The first process of a node's namespaces. Started by path, before anything else is there: standard library only.

Its standard input carries one line of JSON and then stays open for as long as the node shall live; at its end this
process ends, and with it, since it is number 1, every other process of the node. Until then it reaps orphans.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
from typing import Any

_MS_BIND = 4096
_MS_REC = 16384


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """mount(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    if libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]) != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount {source} on {target}")


def furnish(config: dict[str, Any]) -> None:
    """Name the node and give it its own `/proc` and memory file systems; what is below them and shared stays there."""
    socket.sethostname(config["name"])
    mount("proc", "/proc", "proc")
    hidden = config["memory_file_systems"]
    kept = [path for path in config["kept"] if any(path.startswith(f"{place}/") for place in hidden)]
    opened = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in kept]
    for place, options in hidden.items():
        mount("tmpfs", place, "tmpfs", data=options)
    os.makedirs("/run/lock")
    for path, descriptor in zip(kept, opened, strict=True):
        os.makedirs(path, exist_ok=True)
        mount(f"/proc/self/fd/{descriptor}", path, flags=_MS_BIND | _MS_REC)
        os.close(descriptor)
    mount(config["hosts"], "/etc/hosts", flags=_MS_BIND)


def reap(*_: object) -> None:
    """Collect every child that has ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return


def main() -> None:
    """Live until standard input ends."""
    config = json.loads(sys.stdin.buffer.readline())
    if config:  # the fabric has a network and nothing else
        furnish(config)
    signal.signal(signal.SIGCHLD, reap)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while sys.stdin.buffer.read(1):
        continue


if __name__ == "__main__":
    main()
