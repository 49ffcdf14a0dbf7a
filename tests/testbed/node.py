"""One node: commands in it, and what can happen to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.testbed.cgroups import Cgroup
from tests.testbed.holder import Holder, child_of, joined

if TYPE_CHECKING:
    from tests.testbed.bed import Bed

_REPOSITORY: Final = Path(__file__).resolve().parents[2]
_NAMESPACES: Final = ("--net", "--uts", "--ipc", "--mount", "--pid")
NETWORK: Final = "10.77.0"
RUN_TIMEOUT_S: Final = 120.0


class Process:
    """A command that runs in a node.

    Attributes:
        popen: who waits for it; its pipes and its exit code are the command's.
    """

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen
        self.pid = child_of(popen)
        """Its id outside the node."""

    def signal(self, number: signal.Signals) -> None:
        """A signal to the command."""
        if self.popen.poll() is None:
            os.kill(self.pid, number)
            if number is signal.SIGCONT:
                os.kill(self.popen.pid, number)  # it stops with the command, and does not go on with it

    def wait(self, timeout_s: float = RUN_TIMEOUT_S) -> int:
        """Its exit code, once it has ended; a negative number is the signal that ended it."""
        return self.popen.wait(timeout_s)

    def output(self, timeout_s: float = RUN_TIMEOUT_S) -> str:
        """What is left of its standard output, once it has ended."""
        return self.popen.communicate(timeout=timeout_s)[0]


class Node:
    """A node of `bed`; made by it.

    Attributes:
        number: 1 to the number of nodes.
        name: `n<number>`, which is its hostname.
        address: on the bed's network.
        shm_bytes: room on its `/dev/shm`; what a boot is given.
        memory_bytes: of all its processes; None: no limit.
    """

    def __init__(self, bed: Bed, number: int, shm_bytes: int, memory_bytes: int | None) -> None:
        self.number, self.name, self.address = number, f"n{number}", f"{NETWORK}.{number}"
        self.shm_bytes, self.memory_bytes = shm_bytes, memory_bytes
        self._bed = bed
        self._holder: Holder | None = None
        self._cgroup: Cgroup | None = None
        self._silenced: set[Node] = set()
        self._loss_percent = 0.0

    # --- commands -----------------------------------------------------------------------------------
    def command(self, arguments: Sequence[str | Path]) -> list[str]:
        """What to run on this machine in order to run a command in the node, from the same working directory."""
        options = [*_NAMESPACES, f"--wd={Path.cwd()}"]
        entering = self._held().enter(options, [str(argument) for argument in arguments])
        return joined(self._cgroup.joining if self._cgroup is not None else [], entering)

    def run(
        self, arguments: Sequence[str | Path], *, check: bool = True, timeout_s: float = RUN_TIMEOUT_S, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command and wait for its end; its output is text.

        Raises:
            AssertionError: it did not end with 0 (unless `check` is false); says what it wrote.
        """
        options = {"capture_output": True, "stdin": subprocess.DEVNULL} | options
        if "input" in options:
            del options["stdin"]
        run = subprocess.run(self.command(arguments), text=True, check=False, timeout=timeout_s, **options)
        if check and run.returncode != 0:
            raise AssertionError(f"{arguments} on {self.name} ended with {run.returncode}: {run.stdout}{run.stderr}")
        return run

    def popen(
        self, arguments: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, **options: Any
    ) -> Process:
        """Start a command; it ends with the node at the latest."""
        options = {"stdin": subprocess.DEVNULL, "start_new_session": True, "env": environment} | options
        return self._bed.keep(Process(subprocess.Popen(self.command(arguments), text=True, **options)))

    def path(self, inside: str | Path) -> Path:
        """A path of the node as this machine sees it, for instance of a file in its `/dev/shm`."""
        return Path(f"/proc/{self.pid}/root") / str(inside).lstrip("/")

    @property
    def pid(self) -> int:
        """Process id, outside, of its first process."""
        return self._held().pid

    @property
    def pids(self) -> set[int]:
        """Ids, outside, of its processes but the first."""
        own = os.stat(f"/proc/{self.pid}/ns/pid").st_ino
        found = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        return {pid for pid in found - {self.pid} if _namespace(pid) == own}

    def batch(self, program: Sequence[str], text: str) -> None:
        """Run a program of this machine in the node's network, with `text` as its input."""
        self._held().batch(program, text)

    # --- what can happen to it ----------------------------------------------------------------------
    def kill(self) -> None:
        """SIGKILL to all its processes, those of FUSE mounts too. It stays up: `/dev/shm` keeps what is in it."""
        self.run(["sh", "-c", "kill -9 -1"])
        while self.pids:
            time.sleep(0.001)

    def power_off(self) -> None:
        """Everything of it is gone at once, its memory file systems included."""
        if self._holder is None:
            return
        self._bed.fabric.unplug(self)
        self._end()

    def boot(self) -> None:
        """Up again after `power_off`, with nothing in its memory; what was wrong with its network still is."""
        self.start()
        self.wait_booted()
        self._bed.fabric.plug([self])
        if self._silenced or self._loss_percent:
            self._filter()

    def freeze(self) -> None:
        """No process of it runs; its kernel still answers, as that of a node that swaps or is paused."""
        if self._cgroup is not None:
            self._cgroup.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        if self._cgroup is not None:
            self._cgroup.thaw()

    def silence(self, sources: set[Node]) -> None:
        """Lose what these nodes send to this one, and hear everybody else."""
        self._silenced = sources - {self}
        self._filter()

    def lose(self, percent: float) -> None:
        """Lose this share of what is sent to this node, at random; 0, or from 0.1 on."""
        self._loss_percent = percent
        self._filter()

    @property
    def silenced(self) -> set[Node]:
        """Nodes that this one does not hear."""
        return set(self._silenced)

    # --- for the bed --------------------------------------------------------------------------------
    def start(self) -> None:
        """Begin to boot."""
        self._cgroup = Cgroup(f"{self._bed.name}-{self.name}", self.memory_bytes)
        config = {
            "name": self.name,
            "hosts": str(self._bed.hosts),
            "kept": [str(path) for path in (self._bed.directory, _REPOSITORY, sys.prefix, sys.base_prefix)],
            "memory_file_systems": {
                "/dev/shm": f"mode=1777,size={self.shm_bytes}",
                "/run": "mode=755,size=64m",
                "/tmp": "mode=1777,size=256m",
            },
        }
        self._holder = Holder(self._bed.name, _NAMESPACES, self._cgroup.joining, config)

    def wait_booted(self) -> None:
        """Return when it has its namespaces; it is not on the network yet."""
        self._held().wait_ready()

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self._holder is not None:
            self._end()

    def _end(self) -> None:
        holder, self._holder = self._held(), None
        cgroup, self._cgroup = self._cgroup, None
        if cgroup is not None:
            cgroup.thaw()  # what is frozen does not even die
        holder.close()
        if cgroup is not None:
            cgroup.remove()

    def _held(self) -> Holder:
        if self._holder is None:
            raise AssertionError(f"{self.name} is switched off")
        return self._holder

    def _filter(self) -> None:
        """Filter what arrives only: a filter on sending would tell the sender."""
        sources = ", ".join(sorted(node.address for node in self._silenced))
        rules = [f"ip saddr {{ {sources} }} drop"] if sources else []
        if self._loss_percent:
            rules.append(f'iifname "eth0" numgen random mod 1000 <= {round(10 * self._loss_percent) - 1} drop')
        chain = "\n".join(["type filter hook input priority -9", *rules])
        anew = f"table inet bed {{\nchain input {{\n{chain}\n}}\n}}\n"
        self.batch(("nft", "-f", "-"), f"table inet bed\ndelete table inet bed\n{anew}")


def _namespace(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return 0
