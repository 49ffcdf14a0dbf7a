"""Agents that die again and again before they can join."""

from __future__ import annotations

import asyncio

import pytest

from scichain_wf import limits
from scichain_wf.node.children import Child
from scichain_wf.node.crew import Crew
from scichain_wf.node.log import Log
from scichain_wf.node.tasks import Tasks


def test_an_agent_that_dies_too_often_is_not_waited_for_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spec: LOSS-1. Its process is a real one, which its first line does not please."""
    monkeypatch.setattr(limits, "RESTARTS_MAX", 1)
    told: list[bool] = []
    seen: list[set[int]] = []
    failures: list[BaseException] = []

    async def life() -> None:
        died = asyncio.Event()
        tasks = Tasks(failures.append)

        def gone(slot: int, is_awaited: bool) -> None:
            assert slot == 1
            told.append(is_awaited)
            seen.append(set(crew.slots))
            died.set()

        crew = Crew([Child.started(1)], tasks.spawn, gone, Log("test"))
        crew.start(lambda *_: {}, [])
        for _ in range(4):
            await died.wait()
            died.clear()
        crew.joined(1)
        crew.joined(2)  # of another host: not the crew's
        seen.append(set(crew.slots))
        await crew.end(now=True)
        await tasks.cancel()

    asyncio.run(asyncio.wait_for(life(), 60))
    assert failures == []
    assert told[:4] == [True, False, False, False]
    assert seen[:5] == [{1}, set(), set(), set(), {1}]
