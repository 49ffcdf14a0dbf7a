"""Kernels of their own for nodes of a bed, and NFS between them: user-mode Linux, so minutes rather than seconds.

    with Bed(tmp_path, nodes=3, shm_bytes=uml.SHM_BYTES) as bed, Nfs(bed) as (one, two):
        one.run(["touch", one.mount / "file"])
        two.run(["ls", two.mount]).stdout

A kernel sees the files of its node, read-write, and has `/dev`, `/proc`, `/run` and `/tmp` of its own; it takes the
node's network interface over. Needs Debian's user-mode-linux, nfs-kernel-server and nfs-common.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self, cast

from tests.testbed.cluster import environment
from tests.testbed.node import NETWORK

if TYPE_CHECKING:
    from tests.testbed.bed import Bed
    from tests.testbed.node import Node

_MEMORY_MIB: Final = 256
SHM_BYTES: Final = (_MEMORY_MIB + 64) << 20
"""What a node's `/dev/shm` has to hold: the memory of its kernel is a file there."""
RUN_TIMEOUT_S: Final = 240.0
_INIT: Final = Path(__file__).resolve().with_name("uml_init.py")
_MODULES: Final = "mkdir -p /run/m/lib; ln -sfn /usr/lib/uml/modules /run/m/lib/modules; modprobe -d /run/m -a "
_EXPORT: Final = f"""set -e
{_MODULES} nfsd
mkdir -p /run/export /var/lib/nfs/rpc_pipefs /var/lib/nfs/v4recovery
mount -t tmpfs -o size=4g none /run/export
mount -t nfsd nfsd /proc/fs/nfsd
mount -t rpc_pipefs rpc /var/lib/nfs/rpc_pipefs
echo 10 > /proc/fs/nfsd/nfsv4leasetime
echo 10 > /proc/fs/nfsd/nfsv4gracetime
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
exportfs -o rw,sync,no_root_squash,fsid=0,insecure,no_subtree_check {NETWORK}.0/24:/run/export
rpc.nfsd -N 3 -V 4 -V 4.2 4
rpc.mountd -N 2 -N 3
"""


class Kernel:
    """A kernel that a node boots; a context manager that ends it.

    Attributes:
        node: whose files and network it has; nothing else is to run there.
        mount: where `Nfs` mounts.
    """

    mount = Path("/run/nfs")

    def __init__(self, node: Node) -> None:
        self.node = node
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self.node.batch(("ip", "-batch", "-"), "addr flush dev eth0\n")
            self._log = undo.enter_context(self.node.path("/tmp/uml.log").open("w+"))
            self._process = self.node.popen(
                self._command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
            ).popen
            undo.callback(self._end)
            if self._line() != "ready\n":
                raise RuntimeError(f"no kernel on {self.node.name}: {self.log()}")
            address = f"ip link set lo up; ip addr add {self.node.address}/24 dev vec0; ip link set vec0 up"
            self.run(["sh", "-ec", f"hostname {self.node.name}; {address}"])
            self._exits = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def run(
        self, arguments: Sequence[str | Path], *, check: bool = True, timeout_s: float = RUN_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command under this kernel and wait for its end; one at a time.

        Raises:
            AssertionError: it did not end with 0 (unless `check` is false); says what it wrote.
        """
        texts = [str(argument) for argument in arguments]
        own = {"HOME": "/run/home", "TMPDIR": "/tmp", "PATH": f"/usr/sbin:/sbin:{environment()['PATH']}"}
        kept = {name: value for name, value in environment().items() if name.startswith(("PYTHON", "LC_", "LANG"))}
        wanted = {"arguments": texts, "environment": kept | own, "directory": "/run/home", "timeout_s": timeout_s}
        stdin = cast("IO[str]", self._process.stdin)
        stdin.write(json.dumps(wanted) + "\n")
        stdin.flush()
        if not (line := self._line()):
            raise RuntimeError(f"the kernel on {self.node.name} ended: {self.log()}")
        said = json.loads(line)
        if check and said["returncode"] != 0:
            raise AssertionError(f"{texts} on {self.node.name} ended with {said}")
        return subprocess.CompletedProcess(texts, **said)

    def start(self, arguments: Sequence[str | Path], log: Path) -> int:
        """Start a command whose output goes to a file; its process id, there."""
        script = 'log=$1; shift; setsid "$@" >"$log" 2>&1 & echo $!'
        return int(self.run(["sh", "-c", script, "sh", log, *arguments]).stdout)

    def log(self) -> str:
        """What the kernel printed."""
        self._log.seek(0)
        return self._log.read()[-3_000:]

    def _command(self) -> list[str]:
        quoted = [f'"{word}"' for word in (sys.executable, _INIT)]
        return [
            *("env", "TMPDIR=/dev/shm", "linux.uml", f"mem={_MEMORY_MIB}M", f"umid={self.node.name}"),
            *("uml_dir=/tmp/uml", "rootfstype=hostfs", "rootflags=/", "rw", "quiet"),
            *("con=null", "con0=null,fd:2", "ssl=null", "ssl0=fd:0,fd:1"),
            *("vec0:transport=raw,ifname=eth0,depth=64,gro=1", f"init={quoted[0]}", "--", "-I", "-S", quoted[1]),
        ]

    def _line(self) -> str:
        return cast("IO[str]", self._process.stdout).readline()

    def _end(self) -> None:
        cast("IO[str]", self._process.stdin).close()
        self._process.kill()
        self._process.wait()


class Nfs:
    """NFS 4.2 from a kernel on the bed's first node to kernels on the others; a context manager that ends them."""

    def __init__(self, bed: Bed) -> None:
        self._kernels = [Kernel(node) for node in bed.nodes]
        self._exits = ExitStack()

    def __enter__(self) -> list[Kernel]:
        with ExitStack() as undo:
            server, *clients = [undo.enter_context(kernel) for kernel in self._kernels]
            server.run(["sh", "-c", _EXPORT])
            for client in clients:
                client.run(["sh", "-ec", f"{_MODULES} nfs nfsv4; mkdir {client.mount}"])
                source = f"{server.node.address}:/"
                client.run(["mount", "-t", "nfs4", "-o", "vers=4.2,sec=sys", source, client.mount])
            self._exits = undo.pop_all()
        return clients

    def __exit__(self, *_: object) -> None:
        self._exits.close()
