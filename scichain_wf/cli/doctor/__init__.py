"""`scichain-wf doctor`: will recording work here, and what can be done if not?"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

import scichain_wf
from scichain_wf import errors, limits
from scichain_wf.cli.doctor.check import Check, Level, fail, ok, size, warn
from scichain_wf.cli.locate import chain_option, is_chain, json_option, wanted_chain
from scichain_wf.cli.output import say, say_fields, say_json
from scichain_wf.cli.place import place, place_options
from scichain_wf.config import load_config

_STYLES: Final = {Level.OK: None, Level.WARN: "odd", Level.FAIL: "bad"}


@click.command(epilog="Example: scichain-wf doctor --chain /srv/project/chain")
@click.option(
    "--from-node",
    is_flag=True,
    help="Examine instead, on a compute node, whether an agent here and the storage node would reach each other.",
)
@click.option(
    "--slot",
    type=click.IntRange(1, limits.SLOTS_MAX),
    default=1,
    show_default=True,
    help="With --from-node: whose token is used. An agent of that slot is not disturbed.",
)
@click.option("--token", type=click.Path(path_type=Path), metavar="FILE", help="With --from-node: as `node` takes it.")
@place_options
@chain_option
@json_option
def command(
    *,
    from_node: bool,
    slot: int,
    token: Path | None,
    interface: str | None,
    port_range: str | None,
    chain: Path | None,
    as_json: bool,
) -> int:
    """Examine this host and the place of the chain: will recording work, and what can be done if not?

    The chain need not exist yet. Changes nothing: what has to be written for a trial is removed again. Exits with 0
    (also with warnings) or 3.
    """
    directory = wanted_chain(chain)
    if from_node:
        checks = list(_examined_node(directory, slot, token, *place(interface, port_range)))
    else:
        checks = list(_examined(directory))
    levels = Counter(check.level for check in checks)
    if as_json:
        listed = [{"name": c.name, "level": c.level.value, "found": c.found, "remedy": c.remedy} for c in checks]
        say_json({"sound": not levels[Level.FAIL], "checks": listed})
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            say(f"{check.level:<4}  {check.name:<{width}}  {check.found}", _STYLES[check.level])
            say_fields([("remedy:", check.remedy)], indent=width + 8)
        say(f"{levels[Level.OK]} ok, {levels[Level.WARN]} to know of, {levels[Level.FAIL]} in the way")
    return errors.EXIT_INCOMPLETE if levels[Level.FAIL] else errors.EXIT_OK


def _examined(chain_dir: Path) -> Iterator[Check]:
    from scichain_wf.cli.doctor import filesystem, host, memory
    from scichain_wf.client.outbox import SHARED_MEMORY

    yield host.software_check()
    yield from memory.memory_checks(SHARED_MEMORY)
    yield from _burst()
    yield _leftovers()
    yield from filesystem.place_checks(chain_dir)
    chain, newest_s = _chain(chain_dir)
    yield chain
    yield _clock(chain_dir, newest_s)
    yield host.channel_check()
    yield from host.engine_checks()


def _examined_node(
    chain_dir: Path, slot: int, token: Path | None, host: str, ports: tuple[int, int]
) -> Iterator[Check]:
    from scichain_wf.cli.doctor import host as this_host
    from scichain_wf.cli.doctor import memory, node
    from scichain_wf.client.outbox import SHARED_MEMORY

    yield this_host.software_check()
    yield from memory.memory_checks(SHARED_MEMORY)
    yield from _burst()
    yield from node.node_checks(chain_dir, slot, token, host, ports)


def _burst() -> Iterator[Check]:
    from scichain_wf.cli.doctor.burst import burst_check

    base = load_config(Path.cwd()).burst_buffer
    if base is not None:
        yield burst_check(base)


def _leftovers() -> Check:
    from scichain_wf.node import leftovers

    dead = [item for item in leftovers.found() if not item.held]
    if not dead:
        return ok("leftovers", "no process left anything in shared memory")
    size_bytes = sum(item.size_bytes for item in dead)
    found = f"{len(dead)} directories ({size(size_bytes)}) of processes that are gone"
    remedy = "the next run on their chain takes their records in; `scichain-wf clean` removes the rest"
    return warn("leftovers", found, remedy)


def _chain(chain_dir: Path) -> tuple[Check, float]:
    """What is there, and the time of its newest link (0: none)."""
    if not is_chain(chain_dir):
        return ok("chain", f"none in {chain_dir} yet; a first run makes it"), 0.0
    from scichain_wf import keystore
    from scichain_wf.cli.reading import open_view
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.model.text import digest_text

    layout = ChainLayout(chain_dir)
    try:
        with open_view(chain_dir) as view:
            found, newest_s = f"{digest_text(view.chain_id)}, {view.size} links", view.head().time_us / 1_000_000
        keystore.load(layout.storage_key)
        keystore.load(layout.authority_key)
    except errors.ConfigError as error:
        remedy = "verifying works; record where its keys are, as their owner"
        return fail("chain", f"nothing can be appended here: {error}", remedy), 0.0
    except errors.ScichainError as error:
        return fail("chain", str(error), "`scichain-wf verify` says what is damaged; restore a snapshot"), 0.0
    return ok("chain", found), newest_s


def _clock(chain_dir: Path, newest_s: float) -> Check:
    from scichain_wf.cli.doctor import host

    earlier = {"this program's own file": Path(scichain_wf.__file__).stat().st_mtime}
    if newest_s:
        earlier["the chain's newest link"] = newest_s
    same = {"the machine's hardware clock": clock} if (clock := host.hardware_clock_s()) is not None else {}
    return host.clock_check(time.time(), same | _server_clock(chain_dir), earlier)


def _server_clock(chain_dir: Path) -> dict[str, float]:
    """What time the chain's file system gives a new file: on a network file system, the server's."""
    import tempfile

    place = next((path for path in (chain_dir, *chain_dir.parents) if path.is_dir()), chain_dir)
    try:
        with tempfile.NamedTemporaryFile(prefix=".doctor-", dir=place) as file:
            file.write(b"x")
            file.flush()
            return {"the chain's file system": Path(file.name).stat().st_mtime}
    except OSError:
        return {}
