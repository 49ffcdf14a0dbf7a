"""The pump: what hooks write while an agent ends is either taken in or refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.client.burst import burst_directory, write_burst
from scichain_wf.client.outbox import OutboxWriter, outbox_directory
from scichain_wf.client.spool import list_spool, write_spool
from scichain_wf.consensus.events import Item
from scichain_wf.errors import SubmissionError
from scichain_wf.node.intake import BurstSource, Intake
from scichain_wf.node.log import Log
from scichain_wf.node.pump import Pump
from tests.builders import ChainBuilder


@pytest.fixture
def build() -> ChainBuilder:
    return ChainBuilder()


@pytest.fixture
def directory(build: ChainBuilder, short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pump's outbox."""
    place = outbox_directory(build.chain, 1, short_path)
    monkeypatch.setattr("scichain_wf.node.pump.outbox_directory", lambda *_: place)
    return place


def test_a_hook_that_writes_while_the_outbox_drains_is_told(
    build: ChainBuilder, directory: Path, short_path: Path
) -> None:
    """Spec: LOSS-1."""
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


@pytest.mark.usefixtures("directory")
def test_a_big_spool_is_taken_in_without_waiting_between_looks(
    build: ChainBuilder, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec: LOSS-1. A flush is done when the whole spool is in, and does not take a second for each bite of it."""
    monkeypatch.setattr(limits, "SPOOL_POLL_S", float("inf"))
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
    build: ChainBuilder, directory: Path, short_path: Path
) -> None:
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


def test_a_record_that_somebody_waits_for_is_taken_at_once_and_sealed(
    build: ChainBuilder, directory: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("BELL_S", "POLL_S"):
        monkeypatch.setattr(limits, bound, 3_600.0)
    records = [build.task(name) for name in "ab"]
    taken: list[tuple[bytes, bool]] = []

    async def wait() -> None:
        intake = Intake(build.chain, short_path / "refused", Log("test"))
        pump: Pump

        def submit(items: list[Item]) -> None:
            taken.extend((item.id, pump.hurries) for item in items)

        pump = Pump(build.chain, 1, intake, submit, lambda _: True, Log("test"))
        pump.open(None, [])
        pump.begin()
        OutboxWriter(directory).append(records[0].encode())  # rings within the span that makes one look
        await asyncio.sleep(0.05)
        assert taken == []
        OutboxWriter(directory, urgent=True).append(records[1].encode())
        while len(taken) < 2:  # noqa: ASYNC110 - the pump has nobody to tell but its agent
            await asyncio.sleep(0.01)
        assert sorted(taken) == sorted((record.id, True) for record in records)
        assert not pump.hurries
        pump.close()

    asyncio.run(asyncio.wait_for(wait(), 60))


def test_an_outbox_of_which_too_much_waits_turns_hooks_away_until_the_core_takes_more(
    build: ChainBuilder, directory: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook writes one record more at most, and every record is taken in later. Spec: LOSS-1."""
    monkeypatch.setattr(limits, "POOL_TRANSACTIONS_MAX", 2)
    monkeypatch.setattr(limits, "LOOK_TRANSACTIONS_MAX", 2)
    monkeypatch.setattr(limits, "POLL_S", 0.0)
    records = [build.task(f"t{number}") for number in range(10)]
    monkeypatch.setattr(limits, "OUTBOX_WAITING_BYTES_MAX", 2 * len(records[0].encode()))
    taken: list[Item] = []

    async def fill() -> None:
        intake = Intake(build.chain, short_path / "refused", Log("test"))
        pump = Pump(build.chain, 1, intake, taken.extend, lambda _: True, Log("test"))
        pump.open(None, [])
        pump.begin()
        hook, other = OutboxWriter(directory), OutboxWriter(directory)
        for record in records[:4]:
            hook.append(record.encode())
        other.append(records[4].encode())
        pump.look()
        assert intake.is_full
        for record in records[5:8]:
            hook.append(record.encode())
        pump.look()  # what is read is no longer counted, so that now more than the bound waits
        for writer in (hook, other, OutboxWriter(directory)):
            for _ in range(2):
                with pytest.raises(SubmissionError, match="can take no more"):
                    writer.append(records[8].encode())
        pump.look()
        with pytest.raises(SubmissionError, match="can take no more"):
            hook.append(records[8].encode())
        for _ in range(8):
            intake.settled(tuple(item.id for item in taken))
            pump.look()
        hook.append(records[9].encode())
        for _ in range(8):
            intake.settled(tuple(item.id for item in taken))
            pump.look()
        assert {item.id for item in taken} == {record.id for record in records}
        pump.close()

    asyncio.run(asyncio.wait_for(fill(), 60))


def test_one_agent_of_a_host_reads_the_burst_buffer_and_another_when_it_is_gone(
    build: ChainBuilder, tmp_path: Path
) -> None:
    first, second = (BurstSource(tmp_path, build.chain, Log("test")) for _ in range(2))
    assert (first.read(), first.is_all) == ([], True)
    records = [build.task(f"t{number}").encode() for number in range(2)]
    write_burst(tmp_path, build.chain, records[0])
    [(name, data)] = first.read()
    assert data == records[0]
    assert (second.read(), second.is_all) == ([], True)
    first.let_go(name)
    write_burst(tmp_path, build.chain, records[1])
    first.close()
    first.close()
    [(name, data)] = second.read()
    assert data == records[1]
    second.let_go(name)
    assert second.is_finished()
    assert list_spool(burst_directory(tmp_path, build.chain)) == []
    second.close()


@pytest.mark.usefixtures("directory")
def test_burst_buffer_that_is_not_safe_is_named_and_not_read(
    build: ChainBuilder, short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = short_path / "burst"
    base.mkdir()
    write_burst(base, build.chain, build.task("t").encode())
    base.chmod(0o777)

    async def look() -> None:
        intake = Intake(build.chain, short_path / "refused", Log("test"))
        pump = Pump(build.chain, 1, intake, lambda _: None, lambda _: False, Log("test"))
        pump.open(None, [], base)
        pump.begin()
        assert intake.taken == 0
        base.chmod(0o700)
        pump.flush(1, drain=False)
        assert intake.taken == 1
        pump.close()

    asyncio.run(look())
    assert "chmod +t" in capsys.readouterr().err
    assert len(list_spool(burst_directory(base, build.chain))) == 1
