"""Writer epochs within one process: who may claim, who is fenced, what a marker may say. Processes: integration."""

from __future__ import annotations

import json
import os
import threading
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.errors import LedgerError
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.node import chain
from scichain_wf.node.markers import Identity, Marker, first_line, second_line
from scichain_wf.node.writers import Writer, boottime, claimed

LEASE_S = limits.WRITER_LEASE_S_MIN


@pytest.fixture
def layout(tmp_path: Path) -> ChainLayout:
    made = ChainLayout(tmp_path / "chain")
    chain.prepare(made)
    return made


def files(layout: ChainLayout) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in layout.writers.iterdir()}


def write(layout: ChainLayout, number: int, data: bytes) -> None:
    layout.writers.mkdir(exist_ok=True)
    layout.marker(number).write_bytes(data)


def test_epochs_count_up_and_an_orderly_end_lets_the_next_go_on_in_place(layout: ChainLayout) -> None:
    """Spec: SAFE-8."""
    for number in (1, 2, 3):
        with claimed(layout, 3_600.0) as writer:
            assert (writer.number, writer.in_place) == (number, True)
            assert Marker.read(layout.marker(number)).state == "claimed"
            writer.hold()
            writer.check()
            marker = Marker.read(layout.marker(number))
            assert (marker.state, marker.who, marker.lease_s) == ("holding", Identity.own(), 3_600.0)
        assert Marker.read(layout.marker(number)).state == "ended"
    assert sorted(files(layout)) == ["00000002", "00000003"]  # who ends removes what is older than the last before it


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may write in another user's directory")
def test_a_chain_of_another_user_is_left_as_it_is(layout: ChainLayout) -> None:
    with claimed(layout):
        pass
    for path in (layout.writers, *layout.writers.iterdir()):
        os.chown(path, 65534, 65534)
    before = files(layout)
    with pytest.raises(LedgerError, match="belongs to user id 65534, not to 0 who runs this"), claimed(layout):
        pass
    assert files(layout) == before


def test_the_epoch_is_above_every_ledger(layout: ChainLayout) -> None:
    layout.ledger_dir(7).mkdir(parents=True)
    with claimed(layout) as writer:
        assert writer.number == 8


def test_a_writer_that_lives_is_named_and_nothing_is_changed(layout: ChainLayout) -> None:
    """Spec: SAFE-8."""
    with claimed(layout, LEASE_S) as writer, writer.beating(lambda _: None):
        writer.hold()
        with (
            pytest.raises(LedgerError, match=rf"in use: its storage node is process {os.getpid()} on .*writer 1"),
            claimed(layout, LEASE_S),
        ):
            pass
        assert list(files(layout)) == ["00000001"]
        writer.check()


def test_a_silent_writer_is_waited_out_and_fenced(layout: ChainLayout) -> None:
    """Spec: SAFE-8. It is alive and has the host's lock: only time tells."""
    words: list[str] = []
    with claimed(layout, LEASE_S) as first:
        first.hold()
        with claimed(layout, 3_600.0, words.append) as second:
            second.hold()
            assert (second.number, second.in_place) == (2, False)
            before = files(layout)
            for _ in range(2):
                with pytest.raises(LedgerError, match=rf"writer 1.*process {os.getpid()} on .*writer 2.* took over"):
                    first.check()
            assert first.is_fenced
            first.end()
            first._descriptor = os.open(os.devnull, os.O_WRONLY)  # for the second end
            assert files(layout)["00000002"] == before["00000002"]
            assert not second.is_fenced
            second.check()
    assert any("writer 1) did not end in order and may be alive" in word for word in words)


def test_a_lease_renewed_while_the_next_epoch_is_taken_is_waited_for(
    layout: ChainLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec: SAFE-8. The heartbeat falls between the claimant's last look and its marker."""
    take = Writer.take
    with claimed(layout, LEASE_S) as first:
        first.hold()

        def taking(layout: ChainLayout, number: int, lease_s: float) -> Writer | None:
            first.renew()
            return take(layout, number, lease_s)

        monkeypatch.setattr(Writer, "take", taking)
        with claimed(layout) as second:
            assert boottime() - first._began >= LEASE_S
            assert not second.in_place
            with pytest.raises(LedgerError, match="took over"):
                first.check()


def test_a_claimant_that_was_overtaken_before_it_held_is_fenced(layout: ChainLayout) -> None:
    """Spec: SAFE-8. And its successor waits for whoever wrote before both of them."""
    with claimed(layout, LEASE_S) as first:
        first.hold()
        with claimed(layout, LEASE_S) as second, claimed(layout) as third:
            assert (third.number, third.in_place) == (3, False)
            for writer in (first, second):
                with pytest.raises(LedgerError, match="took over"):
                    writer.hold()


def test_who_slept_past_its_lease_goes_on_if_nobody_took_over(layout: ChainLayout) -> None:
    """A laptop's lid was closed."""
    with claimed(layout, LEASE_S) as writer:
        writer.hold()
        beat = files(layout)["00000001"]
        writer.check()
        assert files(layout)["00000001"] == beat  # within the lease nothing has to be written
        writer._began -= 3_600
        writer.check()
        assert files(layout)["00000001"] != beat


def test_who_ends_while_another_waits_is_over_at_once(layout: ChainLayout) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(claimed(layout, 3_600.0))
        first.hold()

        def waiting(_: str) -> None:
            first._state = "ended"
            first.renew()

        assert stack.enter_context(claimed(layout, LEASE_S, waiting)).in_place


def test_a_marker_that_was_removed_ends_its_writer(layout: ChainLayout) -> None:
    with claimed(layout, LEASE_S) as writer:
        layout.marker(1).unlink()
        with pytest.raises(LedgerError, match=r"00000001 was removed"):
            writer.hold()
        assert writer.is_fenced


def test_a_lease_that_cannot_be_written_is_no_lease_once_it_is_over(layout: ChainLayout) -> None:
    with claimed(layout, LEASE_S) as writer:
        writer.hold()
        kept, writer._descriptor = writer._descriptor, os.open(os.devnull, os.O_RDONLY)
        writer.check()
        writer._began -= 3_600
        with pytest.raises(LedgerError, match="cannot be renewed"):
            writer.check()
        assert not writer.is_fenced
        os.close(writer._descriptor)
        writer._descriptor = kept
        writer.check()


def test_the_thread_renews_and_tells_once_when_it_is_over(layout: ChainLayout) -> None:
    told: list[LedgerError] = []
    over, beaten = threading.Event(), threading.Event()

    def lost(error: LedgerError) -> None:
        told.append(error)
        over.set()

    with claimed(layout, LEASE_S) as writer:
        writer.hold()
        before = files(layout)["00000001"]
        with writer.beating(lost, beaten.set):
            assert beaten.wait(30)
            assert files(layout)["00000001"] != before
            write(layout, 2, b"")
            assert over.wait(30)
    assert len(told) == 1
    assert "took over" in str(told[0])


OWN = Identity.own()


@pytest.mark.parametrize(
    ("who", "dead"),
    [
        (OWN, False),
        (replace(OWN, started=OWN.started + 1), True),
        (replace(OWN, pid=2**22 + 1), True),
        (replace(OWN, pid=2**22 + 1, boot="another"), False),
        (replace(OWN, pid=2**22 + 1, namespace="pid:[1]"), False),
        (replace(OWN, pid=2**22 + 1, host="renamed"), True),
    ],
    ids=["alive", "pid used again", "no such pid", "another boot", "another namespace", "same boot, other name"],
)
def test_who_is_known_to_be_dead(who: Identity, dead: bool) -> None:
    assert who.is_dead(OWN) is dead


def test_without_proc_nobody_is_known_to_be_dead() -> None:
    blind = replace(OWN, boot="", namespace="")
    assert not replace(blind, pid=2**22 + 1).is_dead(blind)


GOOD = asdict(OWN) | {"lease_s": 5.0}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"holding",
        b"{}\nholding 1\n",
        b"[" * 4_000,
        b"\xff\xfe\nholding 1\n",
        json.dumps(GOOD | {"lease_s": 1e9}).encode() + b"\nholding 1\n",
        json.dumps(GOOD | {"lease_s": float("nan")}).encode() + b"\nholding 1\n",
        json.dumps(GOOD | {"pid": True}).encode() + b"\nholding 1\n",
        json.dumps(GOOD | {"host": "a\x1b[31mb"}).encode() + b"\nholding 1\n",
        json.dumps(GOOD).encode() + b"\nwriting 1\n",
        json.dumps(GOOD).encode() + b"\n",
    ],
)
def test_a_malformed_marker_only_says_that_its_epoch_is_taken(
    layout: ChainLayout, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    """It is waited out like one that is silent."""
    write(layout, 1, data)
    marker = Marker.read(layout.marker(1))
    assert (marker.who, marker.state, marker.lease_s) == (None, "claimed", limits.WRITER_LEASE_S)
    monkeypatch.setattr(limits, "WRITER_LEASE_S", LEASE_S)
    with claimed(layout, LEASE_S) as writer:
        assert (writer.number, writer.in_place) == (2, False)


def test_a_marker_is_no_symlink(layout: ChainLayout, tmp_path: Path) -> None:
    layout.writers.mkdir()
    layout.marker(1).symlink_to(tmp_path)
    with pytest.raises(LedgerError, match="symbolic links"), claimed(layout):
        pass


def test_a_marker_reads_as_it_was_written(layout: ChainLayout) -> None:
    write(layout, 3, first_line(OWN, 5.0) + second_line("holding", 42))
    marker = Marker.read(layout.marker(3))
    assert (marker.number, marker.who, marker.state, marker.lease_s) == (3, OWN, "holding", 5.0)
    assert str(marker) == f"process {os.getpid()} on {OWN.host} (writer 3)"


def test_files_of_others_among_the_markers_are_not_looked_at(layout: ChainLayout) -> None:
    for name in ("notes", "0000001", ".00000009", "00000009~"):
        write(layout, 1, b"")
        layout.marker(1).rename(layout.writers / name)
    with claimed(layout) as writer:
        assert (writer.number, writer.in_place) == (1, True)


def test_a_writers_directory_that_is_a_file_is_named(layout: ChainLayout) -> None:
    layout.writers.write_text("mine")
    with pytest.raises(LedgerError, match=r"writers: .* while taking the chain over"), claimed(layout):
        pass
    assert layout.writers.read_text() == "mine"
