"""A process that holds namespaces open, and entering them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

_HERE = Path(__file__).resolve().parent
_JOIN = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ >"$1"; shift; n=$((n - 1)); done; exec "$@"'
_CHILD_WAIT_S = 10.0


def joined(groups: Sequence[str], command: Sequence[str]) -> list[str]:
    """`command`, begun inside the control groups with these `tasks` files."""
    return ["sh", "-c", _JOIN, "sh", str(len(groups)), *groups, *command] if groups else [*command]


def child_of(process: subprocess.Popen[Any]) -> int:
    """Id of the one child of a process that forks and waits; its own id once it has ended."""
    deadline = time.monotonic() + _CHILD_WAIT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        except FileNotFoundError:
            break
        if children:
            return int(children[0])
        time.sleep(0.001)
    return process.pid


class Holder:
    """`init.py` in new namespaces; it ends with this process, and with it everything inside.

    Args:
        bed: name of the bed, so that `ps` shows it.
        namespaces: options of `unshare`.
        groups: `tasks` files of the control groups it shall be in.
        config: what `init.py` is told.
    """

    def __init__(self, bed: str, namespaces: Sequence[str], groups: Sequence[str], config: dict[str, Any]) -> None:
        init = [sys.executable, "-I", "-S", str(_HERE / "init.py"), bed]
        command = ["unshare", *namespaces, "--fork", "--kill-child", *init]
        self._process = subprocess.Popen(
            joined(groups, command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests: they end this
        )
        self._say(json.dumps(config) + "\n")

    def wait_ready(self) -> None:
        """Return when the namespaces are furnished.

        Raises:
            RuntimeError: they could not be; the reason is on standard error.
        """
        if cast("IO[str]", self._process.stdout).readline() != "ready\n":
            raise RuntimeError("a node's first process did not start: see standard error")
        self.pid = child_of(self._process)

    def enter(self, options: Sequence[str], command: Sequence[str]) -> list[str]:
        """`command`, run in the namespaces that the options of `nsenter` name; it dies with who runs it."""
        entering = ["nsenter", "--target", str(self.pid), *options, "--"]
        return [*entering, "setpriv", "--pdeathsig", "KILL", "--", *command]

    def batch(self, program: Sequence[str], text: str) -> None:
        """Run a program of this machine in the network of the namespaces, with `text` as its input."""
        run = subprocess.run(
            self.enter(["--net"], program), input=text, text=True, check=False, capture_output=True, timeout=60
        )
        if run.returncode != 0:
            raise RuntimeError(f"{' '.join(program)}: {run.stderr.strip()}; its input was:\n{text}")

    def close(self) -> None:
        """End it and everything inside, and wait for that."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.wait()  # `unshare` ends when number 1 has, and that when the kernel has killed the others
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _say(self, text: str) -> None:
        stdin = cast("IO[str]", self._process.stdin)
        stdin.write(text)
        stdin.flush()
