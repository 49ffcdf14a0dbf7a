"""Parsl on a Slurm allocation of three nodes: `python parsl_program.py PARTITION`. One node dies at its first task."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import parsl
from parsl import File, bash_app, python_app
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

from scichain_parsl import NodeExecutor, scichain_config, traced

TASKS = 24


@traced
@python_app
def where(marker: str, outputs: Any = ()) -> str:
    """The host; on n4 the first such task ends the node that runs it."""
    import os
    import signal
    import socket
    import time
    from pathlib import Path

    time.sleep(0.3)
    host = socket.gethostname()
    if host == "n4" and not Path(marker).exists():
        Path(marker).touch()
        nursery = Path(f"/proc/{os.getppid()}/stat").read_text()
        os.kill(int(nursery.rpartition(")")[2].split()[1]), signal.SIGKILL)
        time.sleep(60)  # nobody waits for this any more: it is ended with its node
    Path(outputs[0].filepath).write_text(host)
    return host


@traced
@bash_app
def gathered(inputs: Any = (), outputs: Any = ()) -> str:
    names = " ".join(file.filepath for file in inputs)
    return f"cat {names} > {outputs[0].filepath}"


def main(partition: str) -> None:
    """Every task runs somewhere, once what it was lost with is known."""
    here = Path.cwd()
    provider = SlurmProvider(
        partition,
        nodes_per_block=3,
        init_blocks=1,
        max_blocks=1,
        walltime="00:05:00",
        exclusive=False,
        launcher=SrunLauncher(),
    )
    nodes = NodeExecutor("nodes", provider, address="eth0", workers_per_node=2)
    with parsl.load(scichain_config(executors=[nodes], retries=3, usage_tracking=0, strategy_period=0.5)):
        made = [where(str(here / "marker"), outputs=[File(str(here / f"{number}.txt"))]) for number in range(TASKS)]
        gathered(inputs=[future.outputs[0] for future in made], outputs=[File(str(here / "all"))]).result()
    print(sorted({future.result() for future in made}))


if __name__ == "__main__":
    main(sys.argv[1])
