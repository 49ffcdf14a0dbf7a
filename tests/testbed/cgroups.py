"""Version 1 control groups: freeze all of a node, and limit the memory it has."""

from __future__ import annotations

import os
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("freezer", "memory")
PREFIX = "scichain-bed-"
"""Of a bed's name, which goes on with the id of the process that made it."""
_REMOVE_ATTEMPTS = 200


def remove_leftovers() -> None:
    """Remove the groups of beds whose process was killed; whatever was frozen in them ends when it thaws."""
    for group in groups(""):
        if not Path(f"/proc/{group.name.removeprefix(PREFIX).split('-')[0]}").exists():
            if (state := group / "freezer.state").exists():
                state.write_text("THAWED")
            _remove(group)


def groups(process: int | str) -> list[Path]:
    """Control groups of the beds that a process made."""
    return [group for c in CONTROLLERS for group in sorted((ROOT / c).glob(f"{PREFIX}{process}*"))]


class Cgroup:
    """The groups of one node, in each controller that is there.

    Args:
        name: of the bed and the node.
        memory_bytes: what its processes and its memory file systems may take together; None: no limit.
    """

    def __init__(self, name: str, memory_bytes: int | None) -> None:
        there = [controller for controller in CONTROLLERS if os.access(ROOT / controller, os.W_OK)]
        self._groups = {controller: ROOT / controller / name for controller in there}
        for group in self._groups.values():
            group.mkdir()
        if memory_bytes is not None:
            (self._groups["memory"] / "memory.limit_in_bytes").write_text(str(memory_bytes))

    @property
    def joining(self) -> list[str]:
        """The files that a process writes its id to."""
        return [str(group / "tasks") for group in self._groups.values()]

    def freeze(self) -> None:
        """Stop every process where it is; returns when all of them stand."""
        state = self._groups["freezer"] / "freezer.state"
        state.write_text("FROZEN")
        while state.read_text().strip() != "FROZEN":
            time.sleep(0.001)

    def thaw(self) -> None:
        """Let them go on."""
        if "freezer" in self._groups:
            (self._groups["freezer"] / "freezer.state").write_text("THAWED")

    def remove(self) -> None:
        """Remove the groups; their processes have ended."""
        for group in self._groups.values():
            _remove(group)


def _remove(group: Path) -> None:
    for _ in range(_REMOVE_ATTEMPTS):  # busy until the kernel has buried its last process
        try:
            return group.rmdir()
        except FileNotFoundError:
            return None
        except OSError:
            time.sleep(0.01)
    return group.rmdir()
