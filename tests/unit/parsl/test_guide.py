"""The configurations of docs/how-to/parsl-on-a-cluster.md, submitted to schedulers that only note the script."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("parsl", reason="Parsl is not installed: pip install 'scichain-wf[parsl]'")
GUIDE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "parsl-on-a-cluster.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
ANSWERS = {"sbatch": "Submitted batch job 7", "qsub": "7.server", "bsub": "Job <7> is submitted to queue <batch>."}


@pytest.fixture
def schedulers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that say what the real ones say, and only note what they are asked for."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, answer in ANSWERS.items():
        (programs / name).write_text(f"#!/bin/sh\necho \"$*\" > {tmp_path}/asked\necho '{answer}'\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)


def script_of(code: str, directory: Path, command: str | None = None) -> str:
    """The batch script that a block of the guide submits."""
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own documentation
    provider, [executor] = names["provider"], names["config"].executors
    provider.script_dir = str(directory)
    if command is None:
        executor._access = directory / "nodes" / "access"
        command = executor._get_launch_command("3")
    else:
        provider.launcher.record(directory / "a chain")
    assert provider.submit(command, 1, "block") is not None
    [script] = directory.iterdir()
    return script.read_text(encoding="utf-8") + (directory.parent / "asked").read_text(encoding="utf-8")


@pytest.mark.usefixtures("schedulers")
@pytest.mark.parametrize(
    ("number", "asked", "launched"),
    [
        (0, ("#SBATCH --nodes=4", "#SBATCH --partition=normal", "#SBATCH --account=project"), "srun --ntasks 4"),
        (1, ("#PBS -l select=4:ncpus=32", "-q workq", "-A project"), "mpiexec"),
        (2, ("#BSUB -nnodes 4", "#BSUB -q batch", "#BSUB -P project"), "jsrun -n 4"),
    ],
    ids=["slurm", "pbs", "lsf"],
)
def test_the_guides_configurations_ask_for_nodes_and_start_one_of_ours_on_each(
    number: int, asked: tuple[str, ...], launched: str, tmp_path: Path
) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    script = script_of(BLOCKS[number], scripts)
    assert not [line for line in asked if line not in script], script
    assert launched in script
    assert f"-P -m scichain_parsl.nodes.main {scripts}/nodes/access 3 32" in script
    assert "source ~/venv/bin/activate" in script


# HighThroughputExecutor leaves open the sockets with which it looks for this host's addresses.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("schedulers")
def test_a_wrapped_launcher_starts_the_agent_with_the_workers_command_in_one_word(tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    script = script_of(BLOCKS[3], scripts, "work --name 'of it'")
    assert f"-m scichain_parsl.nodes.beside '{scripts}/a chain' ib0 '' '' 'work --name '\"'\"'of it'\"'\"''" in script
    assert "srun --ntasks 4" in script
