"""The first process of a user-mode kernel, started by path: standard library only. Runs what it is sent by line.

One line of JSON on the serial line says what to run, one goes back that says how it ended. Before the first, the line
`ready`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tty

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from init import mount  # type: ignore[import-not-found]  # beside this file

_OWN = {"/proc": "proc", "/sys": "sysfs", "/run": "tmpfs", "/tmp": "tmpfs", "/var/lib/nfs": "tmpfs"}


def answer(line: bytes) -> dict[str, object]:
    """Run what a line says; how it ended."""
    wanted = json.loads(line)
    try:
        run = subprocess.run(
            wanted["arguments"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=wanted["environment"],
            cwd=wanted["directory"],
            timeout=wanted["timeout_s"],
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"returncode": 255, "stdout": "", "stderr": str(error)}
    return {"returncode": run.returncode, "stdout": run.stdout, "stderr": run.stderr}


def serve() -> None:
    """Answer until the serial line ends."""
    os.setsid()
    line = os.open("/dev/ttyS0", os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line)
    with os.fdopen(line, "r+b", buffering=0) as serial:
        serial.write(b"ready\n")
        rest = b""
        while data := serial.read(4096):
            *lines, rest = (rest + data).split(b"\n")
            for complete in lines:
                serial.write(json.dumps(answer(complete)).encode() + b"\n")


def main() -> None:
    """Mount what is this kernel's own, start the server, and reap orphans."""
    for place, kind in _OWN.items():
        mount("none", place, kind)
    for place in ("/dev/shm", "/dev/pts", "/run/lock", "/run/home"):
        os.mkdir(place)
    mount("none", "/dev/shm", "tmpfs")
    mount("none", "/dev/pts", "devpts")
    child = os.fork()
    if child == 0:
        serve()
        os._exit(0)
    while os.wait()[0] != child:  # the kernel ends with its first process
        continue


if __name__ == "__main__":
    main()
