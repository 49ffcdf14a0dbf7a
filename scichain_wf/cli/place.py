"""`--interface` and `--port-range`: where a process listens for others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scichain_wf.config import load_config

if TYPE_CHECKING:
    from collections.abc import Callable


def place_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Both options; `place` takes their values."""
    interface = click.option(
        "--interface",
        metavar="NAME",
        help="Network interface (eth0, ib0), or address of this host, at which others find it. Default: configured, or "
        "loopback.",
    )
    ports = click.option("--port-range", metavar="FIRST-LAST", help="Ports to listen on. Default: configured, or any.")
    return interface(ports(function))


def place(interface: str | None, ports: str | None) -> tuple[str, tuple[int, int]]:
    """Host and ports.

    Raises:
        ConfigError: there is no such interface, or it is not a range of ports.
    """
    from scichain_wf.transport.interface import address_of, port_range

    config = load_config(Path.cwd(), flags={"interface": interface, "port_range": ports})
    return address_of(config.interface), (0, 0) if config.port_range is None else port_range(config.port_range)
