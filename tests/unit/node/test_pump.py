"""The pump: what hooks write while an agent ends is either taken in or refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scichain_wf.client.outbox import OutboxWriter, outbox_directory
from scichain_wf.consensus.events import Item
from scichain_wf.errors import SubmissionError
from scichain_wf.node.intake import Intake
from scichain_wf.node.log import Log
from scichain_wf.node.pump import Pump
from tests.builders import ChainBuilder


def test_a_hook_that_writes_while_the_outbox_drains_is_told(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spec: LOSS-1."""
    build = ChainBuilder()
    directory = outbox_directory(build.chain, 1, short_path)
    monkeypatch.setattr("scichain_wf.node.pump.outbox_directory", lambda *_: directory)
    records = [build.task(f"t{number}") for number in range(3)]
    taken: list[Item] = []

    async def drain() -> None:
        intake = Intake(build.chain, short_path / "refused", Log("test"))
        pump = Pump(build.chain, 1, intake, taken.extend, lambda _: True, Log("test"))
        pump.open(None, [])
        writer = OutboxWriter(directory)
        for record in records[:2]:
            writer.append(record.encode())
        pump.flush(1, drain=True)
        with pytest.raises(SubmissionError):
            writer.append(records[2].encode())
        assert [item.id for item in taken[:2]] == [record.id for record in records[:2]]
        intake.settled(tuple(item.id for item in taken))
        assert pump.flush_done() in (1, None)  # None: the third was read after all
        pump.close()

    asyncio.run(drain())
