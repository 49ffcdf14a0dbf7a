"""`AgentLauncher`: an agent beside each node of another executor, such as HighThroughputExecutor."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from parsl.launchers.base import Launcher

from scichain_parsl.nodes.place import found, unchanged


class AgentLauncher(Launcher):
    """Launches what another launcher launches, with an agent of the run's chain beside each of them.

    Without `scichain_config` it launches nothing else.

    Args:
        inner: the launcher, such as `SrunLauncher()`.
        address: network interface (`ib0`) at which hosts reach each other; default: the configured `interface`.
        ports: `20000-20100`: where processes may listen; default: the configured `port_range`, or any.
        tail_dir: as for `NodeExecutor`.
        python: the interpreter on the nodes; default: this one's path.

    Attributes:
        agents: how many there will be; `scichain_config` takes it from the provider.
    """

    def __init__(
        self,
        inner: Any,
        *,
        address: str | None = None,
        ports: str | None = None,
        tail_dir: str | None = None,
        python: str = sys.executable,
    ) -> None:
        super().__init__(debug=inner.debug)
        self.inner, self.address, self.ports, self.python = inner, address, ports, python
        self.tail_dir = None if tail_dir is None else str(Path(tail_dir).absolute())
        self.agents = 0
        self._chain: Path | None = None

    def place(self) -> tuple[str, tuple[int, int]]:
        """Host and ports where others find this process; `ConfigError` if they make no sense here."""
        return found(self.address, self.ports)

    def record(self, chain: Path | None, _agents_min: int = 0) -> None:
        """What is launched from now on keeps this chain; None: the run is over."""
        self._chain = chain

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int, script_dir: str = "") -> str:
        """The command for the batch script.

        Raises:
            ConfigError: the batch script would not leave the chain's path as it is.
        """
        if self._chain is not None:
            program = [self.python, "-P", "-m", "scichain_parsl.nodes.beside", str(self._chain.absolute())]
            places = [self.address or "", self.ports or "", self.tail_dir or ""]
            command = f"{unchanged([*program, *places])} {shlex.quote(command)}"
        launched: str = self.inner(command, tasks_per_node, nodes_per_block, script_dir)
        return launched
