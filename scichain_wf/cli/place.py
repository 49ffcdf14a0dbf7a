"""`--interface` and `--port-range`: where a process listens for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable


def place_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Both options; `place` takes their values."""
    interface = click.option(
        "--interface",
        metavar="NAME",
        default="127.0.0.1",
        show_default=True,
        help="Network interface (eth0, ib0), or address of this host, at which others find it.",
    )
    ports = click.option("--port-range", metavar="FIRST-LAST", help="Ports to listen on. Default: any.")
    return interface(ports(function))


def place(interface: str, ports: str | None) -> tuple[str, tuple[int, int]]:
    """Host and ports.

    Raises:
        ConfigError: there is no such interface, or it is not a range of ports.
    """
    from scichain_wf.transport.interface import address_of, port_range

    return address_of(interface), (0, 0) if ports is None else port_range(ports)
