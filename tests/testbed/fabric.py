"""The network between the nodes: a bridge in a namespace of its own, one cable per node, slow ones on demand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from tests.testbed.holder import Holder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.testbed.node import Node

_WIRE = Path(__file__).resolve().with_name("wire.py")
_IP = ("ip", "-batch", "-")
_TC = ("tc", "-batch", "-")


class Fabric:
    """The bridge `br0`; node k is plugged into it by `v<k>`, whose other end is its `eth0`."""

    def __init__(self, bed: str) -> None:
        self._wires: dict[int, subprocess.Popen[str]] = {}
        self._holder = Holder(bed, ["--net"], [], {})
        self._holder.wait_ready()
        self._holder.batch(_IP, "link set lo up\nlink add br0 type bridge\nlink set br0 up\n")

    def plug(self, nodes: Sequence[Node]) -> None:
        """Connect nodes that have just booted."""
        self._holder.batch(
            _IP,
            "".join(
                f"link add v{node.number} type veth peer name eth0 netns {node.pid}\n"
                f"link set v{node.number} master br0\nlink set v{node.number} up\n"
                for node in nodes
            ),
        )
        for node in nodes:
            node.batch(_IP, f"link set lo up\naddr add {node.address}/24 dev eth0\nlink set eth0 up\n")

    def unplug(self, node: Node) -> None:
        """Remove the cable of a node that is about to end: the kernel would do it too, but at its leisure."""
        self.undelay(node)
        self._holder.batch(("ip", "-force", "-batch", "-"), f"link del v{node.number}\n")

    def rate(self, node: Node, kilobit_per_s: int) -> None:
        """Limit what a node sends, and what it is sent, to a rate each."""
        shape = f"root tbf rate {kilobit_per_s}kbit burst 32kb latency 200ms\n"
        self._holder.batch(_TC, f"qdisc replace dev v{node.number} {shape}")
        node.batch(_TC, f"qdisc replace dev eth0 {shape}")

    def unrate(self, node: Node) -> None:
        """As fast as it can again."""
        self._holder.batch(_TC, f"qdisc del dev v{node.number} root\n")
        node.batch(_TC, "qdisc del dev eth0 root\n")

    def delay(self, node: Node, delay_ms: float, jitter_ms: float, duplicates_percent: float) -> None:
        """Put the slow wire between a node and the bridge."""
        self.undelay(node)
        k = node.number
        options = [f"da{k}", f"db{k}", str(delay_ms), str(jitter_ms), str(duplicates_percent)]
        wire = self._wires[k] = subprocess.Popen(
            self._holder.enter(["--net"], [sys.executable, "-I", "-S", str(_WIRE), *options]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if cast("IO[str]", wire.stdout).readline() != "ready\n":
            raise RuntimeError("the slow wire did not start: see standard error")
        self._holder.batch(
            _IP,
            f"link add bd{k} type bridge\nlink set bd{k} up\nlink set da{k} master bd{k}\nlink set da{k} up\n"
            f"link set db{k} master br0\nlink set db{k} up\nlink set v{k} master bd{k}\n",
        )

    def undelay(self, node: Node) -> None:
        """The plain cable again, if there was a slow one."""
        wire = self._wires.pop(node.number, None)
        if wire is not None:
            _end(wire)
            self._holder.batch(_IP, f"link set v{node.number} master br0\nlink del bd{node.number}\n")

    def close(self) -> None:
        """Remove everything."""
        while self._wires:
            _end(self._wires.popitem()[1])
        self._holder.close()


def _end(wire: subprocess.Popen[str]) -> None:
    for pipe in (wire.stdin, wire.stdout):
        cast("IO[str]", pipe).close()
    wire.wait()
