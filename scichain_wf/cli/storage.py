"""`scichain-wf storage`: a storage node for agents that are started by others, on this or other hosts."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

from scichain_wf import limits
from scichain_wf.cli.locate import json_option
from scichain_wf.cli.output import say, say_fields, say_json
from scichain_wf.cli.place import place, place_options
from scichain_wf.config import CHAIN_NAME, load_config
from scichain_wf.errors import EXIT_OK, PeerError


@click.command(epilog="Example: scichain-wf storage --slots 4 --interface ib0")
@click.option("--chain", type=click.Path(path_type=Path), metavar="DIR", help="Directory of the chain; made if new.")
@click.option(
    "--slots",
    type=click.IntRange(1, limits.SLOTS_MAX),
    required=True,
    help="How many agents there will be, each with a slot of its own: 1 to this number.",
)
@place_options
@json_option
def command(*, chain: Path | None, slots: int, interface: str | None, port_range: str | None, as_json: bool) -> int:
    """Run the storage node of a chain, for agents on several hosts, until SIGTERM or Ctrl-C.

    It keeps the chain and lets one agent per slot join: run `scichain-wf node --slot N` on each host that runs tasks.
    For them it leaves its address, and a secret token for each slot, in the chain's directory. When it is told to end
    it waits until what the agents hold is committed; told once more it ends at once.
    """
    from scichain_wf.client import service

    config = load_config(Path.cwd())
    wanted = chain or config.chain or Path.cwd() / CHAIN_NAME
    host, ports = place(interface, port_range)
    signal.signal(signal.SIGTERM, _interrupt)
    running = service.start(wanted, 0, others=service.Others(slots, host, ports), metrics_dir=config.metrics_dir)
    try:
        _tell(running.chain, wanted, slots, as_json=as_json)
        while not running.wait(limits.SERVICE_POLL_S):
            continue
        raise PeerError(f"the storage node ended by itself: {wanted / 'run' / 'storage.log'} says why")
    except KeyboardInterrupt:
        return EXIT_OK
    finally:
        running.stop()


def _tell(chain: bytes, directory: Path, slots: int, *, as_json: bool) -> None:
    address = (directory / "run" / "storage").read_text().split()[0]
    tokens = directory / "run" / "tokens"
    if as_json:
        say_json({"chain": str(directory), "trust_root": f"sha256:{chain.hex()}", "address": address, "slots": slots})
    else:
        say(f"storage node of {directory}")
        root = f"sha256:{chain.hex()}"
        say_fields([("trust root", root), ("address", address), ("tokens", f"{tokens}/slot-1 to slot-{slots}")])
    sys.stdout.flush()


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
