"""Where processes listen for each other, and how a command gets into a batch script unchanged."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from scichain_wf.config import load_config
from scichain_wf.errors import ConfigError
from scichain_wf.transport.interface import address_of, port_range

_EXPANDED: Final = re.compile(r"[$`\\\n]")
"""What a launcher's here-document changes inside a command."""


def found(address: str | None, ports: str | None) -> tuple[str, tuple[int, int]]:
    """This host's address at an interface, and a range of ports ((0, 0): any); configured where they are None.

    Raises:
        ConfigError: there is no such interface, or it is not a range of ports.
    """
    config = load_config(Path.cwd(), flags={"interface": address, "port_range": ports})
    return address_of(config.interface), (0, 0) if config.port_range is None else port_range(config.port_range)


def unchanged(command: Sequence[str]) -> str:
    """The command for a shell.

    Raises:
        ConfigError: a batch script would change it.
    """
    text = shlex.join(command)
    if _EXPANDED.search(text):
        raise ConfigError(f"{text}: a batch script changes $, ` and \\ in paths; choose another directory")
    return text
