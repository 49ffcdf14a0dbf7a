"""A recorded Snakemake run on a Slurm cluster of the test bed: what it left, to be looked at afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.e2e.workflows import environment as beside
from tests.testbed import Bed, Node, Process, Slurm
from tests.testbed.cluster import environment

RUN_TIMEOUT_S: Final = 280.0
_OPTIONS: Final = (
    *("--executor", "slurm", "--slurm-no-account", "--slurm-status-command", "squeue", "--jobs", "8"),
    *("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"),
    *("--default-resources", "slurm_partition=debug", "runtime=5", "--latency-wait", "5"),
    *("--logger", "scichain", "--keep-going"),
)


class Work:
    """A workflow's directory on the shared file system of a cluster.

    Attributes:
        directory: the workflow's.
        chain: its chain.
        variables: what else is in the environment of a run.
        timeout_s: how long a run may take.
    """

    def __init__(self, head: Node, directory: Path) -> None:
        self._head, self.directory, self.chain = head, directory, directory / ".scichain"
        self.variables = {"PATH": beside()["PATH"]}
        self.timeout_s = RUN_TIMEOUT_S

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it from the head node to its end."""
        place = ("--directory", str(self.directory), "--snakefile", str(self.directory / "Snakefile"))
        command = [sys.executable, "-m", "snakemake", *_OPTIONS, *place, *arguments]
        return self._head.run(command, check=False, timeout_s=self.timeout_s, env=environment() | self.variables)

    def scichain(self, *arguments: str) -> dict[str, Any]:
        """What one of our commands says as JSON."""
        command = [sys.executable, "-m", "scichain_wf", *arguments, "--chain", str(self.chain), "--json"]
        said = self._head.run(command, check=False, env=environment())
        assert said.stdout, said.stderr
        value: dict[str, Any] = json.loads(said.stdout)
        return value

    def run(self) -> dict[str, Any]:
        """The only recorded run with its tasks."""
        [run] = self.scichain("runs", "list")["runs"]
        return self.scichain("runs", "show", run["run"])

    @contextmanager
    def agents(self, slurm: Slurm, nodes: Sequence[Node]) -> Iterator[None]:
        """A storage node on the head and an agent on each of `nodes`, started as a Slurm job."""
        ours = [sys.executable, "-m", "scichain_wf"]
        place = ["--chain", str(self.chain), "--interface", "eth0"]
        storage = self._started([*ours, "storage", "--slots", str(len(nodes)), *place])
        _read(storage, "tokens")
        agent = f'exec {sys.executable} -m scichain_wf node --slot $((SLURM_PROCID + 1)) "$@"'
        where = [f"--nodelist={','.join(node.name for node in nodes)}", "--ntasks-per-node=1", "--job-name=agents"]
        agents = self._started(["srun", *where, "sh", "-c", agent, "sh", *place])
        _read(agents, *("joined" for _ in nodes))
        yield
        slurm.run(["scancel", "--name=agents"])
        agents.wait()
        storage.signal(signal.SIGTERM)
        assert storage.wait() == 0

    def _started(self, command: Sequence[str]) -> Process:
        log = (self.directory.parent / f"{command[0].rpartition('/')[2]}.log").open("a")
        with log:
            return self._head.popen(command, environment=environment(), stdout=subprocess.PIPE, stderr=log)


@contextmanager
def cluster(directory: Path, nodes: int) -> Iterator[tuple[Bed, Slurm]]:
    """A bed with Slurm on all its nodes."""
    with Bed(directory, nodes=nodes) as bed, Slurm(bed) as slurm:
        yield bed, slurm


def _read(process: Process, *expects: str) -> None:
    """Read standard output until each of these was there, in this order."""
    assert process.popen.stdout is not None
    for expected in expects:
        line = process.popen.stdout.readline()
        while expected not in line:
            assert line, f"ended with {process.wait()} before it said {expected!r}"
            line = process.popen.stdout.readline()
