"""What an agent on this host needs of the storage node and of the way between the two, both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from scichain_wf import limits
from scichain_wf.cli.doctor.check import Check, fail, ok, warn
from scichain_wf.errors import ConfigError, PeerError

if TYPE_CHECKING:
    from scichain_wf.node.site import Rendezvous
    from scichain_wf.transport.link import Ports

_SPOOL: Final = "until then records of this host go to the spool"
_LOOPBACK: Final = "127."


def node_checks(chain_dir: Path, slot: int, token: Path | None, host: str, ports: Ports) -> Iterator[Check]:
    """Examine what `scichain-wf node --slot SLOT` would need; nothing of it is started.

    Args:
        chain_dir: the chain, as this host sees it.
        slot: whose token is used.
        token: its file; None: the one in the chain's directory.
        host: where an agent would listen.
        ports: see `Ports`.
    """
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.node import site

    layout = ChainLayout(chain_dir)
    start = f"start `scichain-wf storage`, and see that this host has the same {chain_dir}; {_SPOOL}"
    try:
        meeting = site.Rendezvous.read(layout)
    except ConfigError as error:
        yield fail("rendezvous", str(error), start)
        return
    if meeting is None:
        yield fail("rendezvous", f"no storage node runs on {chain_dir}", start)
        return
    yield ok("rendezvous", f"the storage node is at {meeting.address[0]}:{meeting.address[1]}")
    path = token or site.token_file(layout, slot)
    remedy = f"bring the token that `scichain-wf storage` made, or name another slot (--slot); {_SPOOL}"
    try:
        ticket = site.ticket_for(path, slot, meeting)
    except ConfigError as error:
        yield fail("token", str(error), remedy)
        return
    if ticket is None:
        yield fail("token", f"{path} is for an earlier storage node", remedy)
        return
    yield ok("token", f"{path} is for slot {slot} of this storage node")
    yield from _ways(meeting, cast("dict[str, str]", ticket["credentials"]), host, ports)


def _ways(meeting: Rendezvous, credentials: dict[str, str], host: str, ports: Ports) -> Iterator[Check]:
    from scichain_wf.node import probe
    from scichain_wf.transport import tls
    from scichain_wf.transport.credentials import Credentials

    context = tls.client_context(Credentials(**credentials))
    try:
        reached = asyncio.run(probe.ask(meeting, context, host, ports))
    except ConfigError as error:
        yield fail("way back", str(error), f"choose another --interface or --port-range; {_SPOOL}")
        return
    except PeerError as error:
        local = meeting.address[0].startswith(_LOOPBACK)
        let = f"have connections from here to port {meeting.address[1]} of {meeting.address[0]} allowed"
        remedy = "start the storage node with --interface: it serves its own host only" if local else let
        yield fail("way there", str(error), f"{remedy}; {_SPOOL}")
        return
    yield ok("way there", "TLS 1.3, both certificates, and the fingerprint that the chain's directory names")
    place = f"{reached.place[0]}:{reached.place[1]}"
    if reached.way_back:
        let = f"have connections to {place} allowed, or choose --interface and --port-range of `node` so that they are"
        found = f"the storage node's host cannot connect to {place}: {reached.way_back}"
        yield fail("way back", found, f"{let}; other agents cannot reach one here either, and {_SPOOL}")
    else:
        yield ok("way back", f"the storage node's host connects to {place}, where an agent would listen")
    apart = f"the storage node's clock differs by {abs(reached.ahead_s):.1f} s"
    if abs(reached.ahead_s) > limits.CLOCK_SKEW_S:
        yield warn("clocks", apart, "have both synchronised (chrony, ntpd): recorded times are compared by people")
    else:
        yield ok("clocks", apart)
