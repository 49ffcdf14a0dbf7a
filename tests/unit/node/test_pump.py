"""The pump: what hooks write while an agent ends is either taken in or refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.client.outbox import OutboxWriter, outbox_directory
from scichain_wf.client.spool import write_spool
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


def test_a_big_spool_is_taken_in_without_waiting_between_looks(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec: LOSS-1. A flush is done when the whole spool is in, and does not take a second for each bite of it."""
    build = ChainBuilder()
    directory = outbox_directory(build.chain, 1, short_path)
    monkeypatch.setattr("scichain_wf.node.pump.outbox_directory", lambda *_: directory)
    monkeypatch.setattr(limits, "SPOOL_POLL_S", 3_600.0)
    monkeypatch.setattr(limits, "SPOOL_READ_FILES_MAX", 3)
    records = [build.task(f"t{number}") for number in range(20)]
    for record in records:
        write_spool(short_path / "spool", record.encode())

    async def flush() -> None:
        intake = Intake(build.chain, short_path / "refused", Log("test"))
        pump = Pump(build.chain, 1, intake, lambda _: None, lambda _: False, Log("test"))
        pump.open(short_path / "spool", [])
        pump.flush(1, drain=False)
        while not pump.has_read_all:  # noqa: ASYNC110 - the pump has nobody to tell but its agent
            await asyncio.sleep(0.01)
        assert intake.taken == 20
        pump.close()

    asyncio.run(asyncio.wait_for(flush(), 60))


def test_nothing_is_read_before_there_is_somebody_to_certify_it(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = ChainBuilder()
    directory = outbox_directory(build.chain, 1, short_path)
    monkeypatch.setattr("scichain_wf.node.pump.outbox_directory", lambda *_: directory)
    record = build.task("t")
    taken: list[Item] = []

    async def wait() -> None:
        pump = Pump(
            build.chain, 1, Intake(build.chain, short_path / "refused", Log("test")), taken.extend, lambda _: True,
            Log("test"),
        )  # fmt: skip
        pump.open(None, [])
        OutboxWriter(directory).append(record.encode())
        pump.look()
        assert taken == []
        pump.begin()
        pump.begin()
        assert [item.id for item in taken] == [record.id]
        pump.close()

    asyncio.run(wait())
