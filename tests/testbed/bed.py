"""The bed: nodes, the network between them, and its faults."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from tests.testbed import cgroups
from tests.testbed.fabric import Fabric
from tests.testbed.node import Node, Process

NODES_MAX: Final = 200
_numbers = itertools.count(1)


class Bed:
    """A cluster; a context manager that removes all of it.

    Args:
        directory: a directory for it, which all nodes share.
        nodes: how many.
        shm_bytes: room on each node's `/dev/shm`.
        memory_bytes: what each node's processes and memory file systems may take; None: no limit.

    Attributes:
        nodes: all of them, the first has number 1.
        shared: a directory of one file system for all nodes, as coherent as that of this machine.
    """

    def __init__(
        self, directory: Path, nodes: int = 3, *, shm_bytes: int = 64 << 20, memory_bytes: int | None = None
    ) -> None:
        if not 1 <= nodes <= NODES_MAX:
            raise ValueError(f"{nodes} nodes: allowed are 1 to {NODES_MAX}")
        self.name = f"{cgroups.PREFIX}{os.getpid()}-{next(_numbers)}"
        self.directory = directory.resolve()
        self.shared = self.directory / "shared"
        self.hosts = self.directory / "hosts"
        self.nodes = [Node(self, number, shm_bytes, memory_bytes) for number in range(1, nodes + 1)]
        self._processes: list[Process] = []
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        cgroups.remove_leftovers()
        self.shared.mkdir(parents=True, exist_ok=True)
        names = [("127.0.0.1", "localhost"), *((node.address, node.name) for node in self.nodes)]
        self.hosts.write_text("".join(f"{address} {name}\n" for address, name in names))
        with ExitStack() as undo:
            undo.callback(self._reap)
            self.fabric = Fabric(self.name)
            undo.callback(self.fabric.close)
            for node in self.nodes:
                undo.callback(node.close)
                node.start()
            for node in self.nodes:
                node.wait_booted()
            self.fabric.plug(self.nodes)
            self._exits = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    # --- the network's faults -----------------------------------------------------------------------
    def cut(self, source: Node, target: Node) -> None:
        """One way: what `source` sends to `target` is lost without anybody being told."""
        target.silence({*target.silenced, source})

    def partition(self, group: Iterable[Node], others: Iterable[Node] | None = None) -> None:
        """Both ways between a group and others, by default everybody else."""
        left = set(group)
        right = set(self.nodes) - left if others is None else set(others)
        for node in left:
            node.silence(node.silenced | right)
        for node in right:
            node.silence(node.silenced | left)

    def heal(self) -> None:
        """No cut, no partition and no loss any more."""
        for node in self.nodes:
            node.lose(0)
            node.silence(set())

    def delay(self, node: Node, delay_ms: float, jitter_ms: float = 0, duplicates_percent: float = 0) -> None:
        """Everything to and from a node takes so long, each way; with jitter frames overtake each other."""
        self.fabric.delay(node, delay_ms, jitter_ms, duplicates_percent)

    def undelay(self, node: Node) -> None:
        """The plain cable again."""
        self.fabric.undelay(node)

    def rate(self, node: Node, kilobit_per_s: int) -> None:
        """Limit what a node sends, and what it is sent, to this rate each."""
        self.fabric.rate(node, kilobit_per_s)

    def unrate(self, node: Node) -> None:
        """No limit again."""
        self.fabric.unrate(node)

    # --- shared storage -----------------------------------------------------------------------------
    def mount_pfs(self, node: Node, *options: str) -> Path:
        """Mount the incoherent file system on a node; returns its path, the same on all.

        Each node has a FUSE mount of its own over one directory, so a page cache of its own: reads may be stale, and
        shared memory maps do not see each other. Locks go through to the one file system below.
        """
        real, seen = self.directory / "pfs.real", self.directory / "pfs"
        for path in (real, seen):
            path.mkdir(exist_ok=True)
        node.run(["bindfs", "--multithreaded", "--enable-lock-forwarding", *options, real, seen])
        return seen

    # --- for nodes ----------------------------------------------------------------------------------
    def keep(self, process: Process) -> Process:
        """Reap it at the end, however the test ends."""
        self._processes.append(process)
        return process

    def _reap(self) -> None:
        for process in self._processes:
            process.popen.wait()  # its node is gone, and so is what it waits for
            for pipe in (process.popen.stdin, process.popen.stdout, process.popen.stderr):
                if pipe is not None:
                    pipe.close()


def leftovers(process: int) -> list[str]:
    """What is left of the beds that a process made: first processes of nodes, control groups. For tests of the bed."""
    shown = subprocess.run(["ps", "-eo", "pid,args"], check=True, capture_output=True, text=True).stdout
    found = [line for line in shown.splitlines() if f" {cgroups.PREFIX}{process}-" in line]
    return found + [str(group) for group in cgroups.groups(process)]
