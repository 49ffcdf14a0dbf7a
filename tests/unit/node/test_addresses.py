"""Agents hear where the others are: once for all who come within a moment."""

from __future__ import annotations

from typing import cast

import pytest

from scichain_wf import limits
from scichain_wf.node import wire
from tests.chains import DiskChain
from tests.unit.node.test_members import Desk, chain, played, until

__all__ = ["chain"]


def test_addresses_of_all_who_come_within_a_moment_are_told_once(
    chain: DiskChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PEERS_S", 0.0)

    async def play(desk: Desk) -> None:
        line = await desk.connected(1)
        await desk.members.welcome(desk.hellos[0])
        await desk.connected(2)
        for _ in range(3):
            desk.members.tell_addresses()
        await until(lambda: line.sent[-1][0] == wire.Kind.PEERS)
        assert [kind for kind, _ in line.sent].count(wire.Kind.PEERS) == 1
        assert set(cast("dict[str, object]", wire.decoded(line.sent[-1][1])["peers"])) == {"1", "2"}
        assert (desk.members.is_connected(1), desk.members.is_connected(3)) == (True, False)
        assert (desk.members.host_of(1), desk.members.host_of(3)) == (" on host", "")

    played(chain, play)
