"""What the start of a storage node waits for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scichain_wf.errors import PeerError
from scichain_wf.node.log import Log
from scichain_wf.node.storage_node import StorageNode


def _waits(*, in_force: bool) -> None:
    """Wait for agents that do not come in time; none has a channel now."""
    crew = SimpleNamespace(all_slots=[1], slots={1})
    node: Any = SimpleNamespace(
        _layout=SimpleNamespace(run_dir=Path("run")), _crew=crew, _members=SimpleNamespace(all=()), _in_force=in_force
    )
    node._log = Log("storage")

    async def wait() -> None:
        node._changed = asyncio.Event()
        await StorageNode._until(node, lambda: False, "connect", 0.0)

    asyncio.run(wait())


def test_a_start_without_any_agent_fails() -> None:
    with pytest.raises(PeerError, match="no agent did connect"):
        _waits(in_force=False)


def test_an_only_agent_that_died_after_it_joined_is_waited_for_later() -> None:
    """Spec: LIVE-1. It is started again: the service goes on, and what it left is committed then."""
    _waits(in_force=True)
