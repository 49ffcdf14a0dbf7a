"""A Slurm cluster on a bed: the controller on its first node, a daemon for jobs on each other one."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from pathlib import Path

    from tests.testbed.bed import Bed
    from tests.testbed.node import Node

_START_TIMEOUT_S: Final = 60.0
_CONFIG: Final = """
ClusterName=bed
SlurmctldHost={head.name}({head.address})
SlurmUser=root
AuthType=auth/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core,CR_LLN
SchedulerParameters=sched_min_interval=0,bf_interval=1
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
ReturnToService=2
SlurmdTimeout=6
KillWait=2
MinJobAge=300
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
StateSaveLocation=/run/slurmctld
SlurmdSpoolDir=/run/slurmd
SlurmctldLogFile=/run/slurmctld.log
SlurmdLogFile=/run/slurmd.log
SlurmdParameters=config_overrides
NodeName={names} CPUs=4 Sockets=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=1000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES DefaultTime=10 State=UP
"""


class Slurm:
    """Slurm on all nodes of `bed`, which needs two or more; a context manager that waits until all are idle.

    Attributes:
        head: where `sbatch` and its like are run; no job runs there.
    """

    def __init__(self, bed: Bed) -> None:
        self.head, *self._workers = bed.nodes
        self._directory = bed.directory / "slurm"

    def __enter__(self) -> Self:
        self._directory.mkdir()
        names = ",".join(node.name for node in self._workers)
        (self._directory / "slurm.conf").write_text(_CONFIG.format(head=self.head, names=names))
        key = self._key
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        for node in (self.head, *self._workers):
            self.start(node)
        self.wait_idle()
        return self

    def __exit__(self, *_: object) -> None:
        for node in (self.head, *self._workers):
            node.run(["pkill", "-KILL", "slurm|munged"], check=False)  # of this node: it sees no other processes
            node.run(["umount", "/etc/slurm"], check=False)

    def start(self, node: Node) -> None:
        """Start its daemons; after a boot they are gone."""
        node.run(["mkdir", "-p", "/run/munge", "/run/slurmd", "/run/slurmctld"])
        node.run(["mount", "--bind", self._directory, "/etc/slurm"])
        places = [f"--{name}-file=/run/munge/munged.{name}" for name in ("pid", "log", "seed")]
        node.run(["munged", "--force", "--socket=/run/munge/munge.socket.2", f"--key-file={self._key}", *places])
        node.run(["slurmctld", "-c"] if node is self.head else ["slurmd", "-N", node.name])

    def wait_idle(self) -> None:
        """Return when every worker is idle.

        Raises:
            AssertionError: not in time; says what `sinfo` shows.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        shown = ""
        while time.monotonic() < deadline:
            run = self.run(["sinfo", "--noheader", "--format=%n %t"], check=False)
            shown = run.stdout + run.stderr
            states = [line.split()[1] for line in run.stdout.splitlines()]
            if len(states) == len(self._workers) and set(states) == {"idle"}:
                return
            time.sleep(0.1)
        raise AssertionError(f"Slurm's nodes did not get idle: {shown}")

    def run(self, command: list[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `sbatch`, `srun`, `squeue`, ... on the head."""
        return self.head.run(command, check=check)

    @property
    def _key(self) -> Path:
        return self._directory / "munge.key"
