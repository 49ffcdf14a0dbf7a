"""The ledger tail: what goes and what stays, its bounds in bytes, and what it says where there is no room."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from scichain_wf.crypto.hashing import sha256
from scichain_wf.errors import LedgerCorrupt, LedgerError, LedgerFull, UsageError
from scichain_wf.ledger.filter import MembershipFilter
from scichain_wf.ledger.keys import uri_key
from scichain_wf.ledger.prepared import prepared
from scichain_wf.ledger.standing import Standing
from scichain_wf.ledger.tail import LedgerTail
from scichain_wf.ledger.tailfile import NoRoom
from scichain_wf.model.block import Block
from scichain_wf.model.bodies import Kind
from scichain_wf.model.link import Mode
from scichain_wf.model.uri import work_uri
from tests.builders import ROOT_ID, Candidate, ChainBuilder
from tests.golden.vectors import Chain
from tests.unit.ledger.tail_chain import (
    OTHER_PEER,
    PEER,
    SALT,
    SMALL,
    check_standing,
    file_limit,
    foreign,
    opened,
    size_bytes,
    steps,
)


@pytest.fixture
def tail(tmp_path: Path) -> Iterator[LedgerTail]:
    with opened(tmp_path / "tail") as made:
        yield made


def test_blocks_go_oldest_first_and_new_stays_new(tail: LedgerTail) -> None:
    starts = []
    for step in steps():
        step.append_to(tail)
        starts.append(tail.covers_from)
        check_standing(tail, step)
        assert tail.filter_covers
    assert starts == sorted(starts)
    assert 0 < starts[-1] < len(steps()) - 5
    assert tail.link_hash(len(steps()) - 1) == steps()[-1].link.hash
    assert tail.link_hash(starts[-1]) == steps()[starts[-1]].link.hash
    assert tail.link_hash(0) is None
    assert tail.lookup(work_uri(ROOT_ID, b"only a duplicate made it"), bytes(32)) is Standing.NEW


def test_without_the_beginning_a_miss_is_unknown_until_a_filter_is_adopted(tail: LedgerTail) -> None:
    start = 5
    for step in steps()[start:8]:
        step.append_to(tail)
    assert tail.lookup("file:///never", bytes(32)) is Standing.UNKNOWN
    past = MembershipFilter(bytes(16), map(uri_key, steps()[start - 1].versions))
    assert not tail.adopt(past, start - 1)
    assert tail.lookup("file:///never", bytes(32)) is Standing.UNKNOWN
    assert tail.adopt(past, start)
    assert tail.lookup("file:///never", bytes(32)) is Standing.NEW
    check_standing(tail, steps()[7])
    for step in steps()[8:]:
        step.append_to(tail)
        check_standing(tail, step)
    assert tail.filter_covers
    assert tail.covers_from > start


def test_what_goes_does_not_make_up_for_a_beginning_that_is_missing(tail: LedgerTail) -> None:
    for step in steps()[5:]:
        step.append_to(tail)
        check_standing(tail, step)
    assert tail.covers_from > 5
    assert not tail.filter_covers


def test_nothing_can_be_adopted_before_there_is_a_link(tail: LedgerTail) -> None:
    assert not tail.adopt(MembershipFilter(SALT), 10)


def test_versions_and_transactions_of_the_tail_are_found(tail: LedgerTail) -> None:
    for step in steps()[:6]:
        step.append_to(tail)
    step = steps()[4]
    value, leaf = step.block.parsed[0], step.block.leaves[0]
    key = bytes.fromhex(str(value["key"]))
    assert tail.contains(key, leaf)
    assert not tail.contains(key, bytes(32))
    assert tail.clashes(key, bytes(32))
    assert not tail.clashes(key, leaf)
    assert not tail.clashes(bytes(16), leaf)
    name, versions = next(iter(step.versions.items()))
    assert tail.lookup("file:///never", bytes(32)) is Standing.NEW
    assert all(tail.lookup(name, digest) is Standing.KNOWN for digest in versions if digest)
    assert tail.lookup(name, bytes(32)) is (Standing.OTHER if all(versions) else Standing.UNHASHED)


def test_a_uri_that_another_begins_with_is_another(tail: LedgerTail) -> None:
    builder = ChainBuilder(seed=3)
    chain = Chain(builder)
    long = "d/" + "x" * 500
    names = ["a", "ab", long, long + "b"]
    links = [chain.append(Candidate(builder.genesis, Mode.EPOCH, None, 0))]
    tail.append(links[0], prepared(builder.genesis))
    block = builder.block(1, [builder.task("t", [], [builder.artifact(name, b"1") for name in names[1:3]])])
    link = chain.append(builder.poet(block))
    tail.append(link, prepared(block))
    said = [tail.lookup(work_uri(ROOT_ID, name.encode()), sha256(b"1")) for name in names]
    assert said == [Standing.NEW, Standing.KNOWN, Standing.KNOWN, Standing.NEW]


def test_a_link_that_does_not_follow_changes_nothing(tail: LedgerTail) -> None:
    for step in steps()[:4]:
        step.append_to(tail)
    for wrong in (steps()[5], steps()[3]):
        with pytest.raises(LedgerError, match="does not follow"):
            wrong.append_to(tail)
    with pytest.raises(LedgerError, match="another block"):
        tail.append(steps()[4].link, steps()[5].block)
    assert tail.head() == (3, steps()[3].link.hash)
    steps()[4].append_to(tail)


def test_a_block_too_large_for_the_tail_is_passed_over(tail: LedgerTail) -> None:
    builder = ChainBuilder(seed=21)
    chain = Chain(builder)
    link = chain.append(Candidate(builder.genesis, Mode.EPOCH, None, 0))
    tail.append(link, prepared(builder.genesis))
    notes = [builder.transaction(Kind.NOTE, {"text": "x" * 65_000}) for _ in range(20)]
    large = builder.block(1, [builder.task("t", [], [builder.artifact("big", b"1")]), *notes])
    link = chain.append(builder.poet(large))
    tail.append(link, prepared(large))
    assert tail.head() == (1, link.hash)
    assert tail.covers_from == 2
    assert tail.link_hash(1) == link.hash
    assert tail.filter_covers
    assert tail.lookup(work_uri(ROOT_ID, b"big"), sha256(b"1")) is Standing.UNKNOWN
    assert tail.lookup(work_uri(ROOT_ID, b"small"), sha256(b"1")) is Standing.NEW
    small = builder.block(1, [builder.task("t", [], [builder.artifact("small", b"1")])])
    link = chain.append(builder.poet(small))
    tail.append(link, prepared(small))
    assert tail.covers_from == 2
    assert tail.lookup(work_uri(ROOT_ID, b"small"), sha256(b"1")) is Standing.KNOWN


def test_own_blocks_stay_whatever_goes(tail: LedgerTail) -> None:
    own = [foreign(number, 60_000) for number in range(4)]
    for block in own:
        tail.pin(block)
    for step in steps():
        step.append_to(tail)
    assert {block.id for block in tail.pinned()} == {block.id for block in own}
    tail.unpin(own[0].id)
    tail.unpin(own[0].id)
    assert {block.id for block in tail.pinned()} == {block.id for block in own[1:]}


def test_own_blocks_beyond_the_room_are_refused_and_nothing_is_lost(tail: LedgerTail, tmp_path: Path) -> None:
    for step in steps()[:10]:
        step.append_to(tail)
    kept: list[Block] = []
    for size in (60_000, 5_000):
        with pytest.raises(LedgerFull, match="nothing left to evict"):
            for number in range(40):
                block = foreign(number, size)
                tail.pin(block)
                kept.append(block)
    assert len(kept) >= 10
    assert {block.id for block in tail.pinned()} == {block.id for block in kept}
    assert tail.covers_from == 10
    assert tail.filter_covers
    assert not tail.hold(PEER, foreign(99))
    for step in steps()[10:14]:
        step.append_to(tail)  # passed over where they do not fit
    assert tail.head() == (13, steps()[13].link.hash)
    assert size_bytes(tmp_path / "tail") <= SMALL


def test_foreign_blocks_have_a_quota_per_peer_and_one_together(tail: LedgerTail) -> None:
    size = tail._file.bytes_max
    accepted = [number for number in range(30) if tail.hold(PEER, foreign(number))]
    assert accepted == list(range(len(accepted)))
    assert 1 <= len(accepted) * 10_000 <= size // 16
    assert tail.hold(PEER, foreign(0))  # it is there already
    assert tail.hold(OTHER_PEER, foreign(50))
    assert tail.held(foreign(50).id) == foreign(50)
    assert tail.held(foreign(51).id) is None
    tail.release(foreign(0).id)
    tail.release(foreign(0).id)
    assert tail.hold(PEER, foreign(29))
    peers = [bytes([9, number]) * 16 for number in range(20)]
    number = 100
    for peer in peers:
        while tail.hold(peer, foreign(number)):
            number += 1
    assert sum(tail._peers.values()) <= size // 4
    assert not tail.hold(bytes(32), foreign(200))


def test_a_proposal_that_was_committed_is_held_no_longer(tail: LedgerTail) -> None:
    for step in steps()[:3]:
        step.append_to(tail)
    block = steps()[3].block.block
    assert tail.hold(PEER, block)
    steps()[3].append_to(tail)
    assert tail.held(block.id) is None
    assert tail._peers[PEER] == 0


def test_reopening_finds_everything(tmp_path: Path) -> None:
    own, held = foreign(1), foreign(2)
    with opened(tmp_path) as tail:
        for step in steps()[:40]:
            step.append_to(tail)
        tail.pin(own)
        assert tail.hold(PEER, held)
        start, head = tail.covers_from, tail.head()
        assert start > 0
    assert size_bytes(tmp_path) <= SMALL
    with opened(tmp_path) as tail:
        assert (tail.covers_from, tail.head()) == (start, head)
        assert tail.filter_covers
        assert tail.pinned() == [own]
        assert tail.held(held.id) == held
        assert tail._peers == {PEER: len(held.encode())}
        check_standing(tail, steps()[39])
        for step in steps()[40:]:
            step.append_to(tail)
            check_standing(tail, step)


@pytest.mark.parametrize("damage", ["absent", "empty", "garbage"])
def test_without_its_filter_a_reopened_tail_says_unknown(tmp_path: Path, damage: str) -> None:
    with opened(tmp_path) as tail:
        for step in steps()[:40]:
            step.append_to(tail)
    path = tmp_path / "filter"
    path.unlink()
    if damage != "absent":
        path.write_bytes(b"" if damage == "empty" else b"x" * 100)
    with opened(tmp_path) as tail:
        assert not tail.filter_covers
        check_standing(tail, steps()[39])


def test_a_filter_that_does_not_fit_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as tail:
        steps()[0].append_to(tail)
    assert (tmp_path / "filter").exists()
    tail = LedgerTail.open(tmp_path, SMALL, SALT)
    tail._filter_bytes_max = 100
    tail.close()
    assert not (tmp_path / "filter").exists()


def test_closing_a_tail_whose_directory_is_gone_is_fine(tmp_path: Path) -> None:
    tail = LedgerTail.open(tmp_path / "tail", SMALL)
    shutil.rmtree(tmp_path / "tail")
    tail.close()
    tail.close()


# --- no room, and damage --------------------------------------------------------------------------------
def test_a_full_tmpfs_evicts_instead_of_failing(tmp_path: Path) -> None:
    bytes_max = 8 << 20
    with opened(tmp_path, bytes_max) as tail:
        for step in steps()[:20]:
            step.append_to(tail)
        tail.pin(foreign(1))
        assert tail.covers_from == 0
        now = (tmp_path / "data.mdb").stat().st_size
        with file_limit(now):
            for step in steps()[20:]:
                step.append_to(tail)
                check_standing(tail, step)
            assert (tmp_path / "data.mdb").stat().st_size <= now
        assert tail.covers_from > 0
        assert tail.filter_covers
        assert tail.pinned() == [foreign(1)]


def test_no_room_even_for_the_own_blocks_is_said(tmp_path: Path) -> None:
    with opened(tmp_path, 8 << 20) as tail:
        for step in steps()[:5]:
            step.append_to(tail)
        with file_limit(20_000), pytest.raises(LedgerFull):
            for number in range(50):
                tail.pin(foreign(number, 60_000))


def test_deleting_without_room_begins_the_file_anew(tail: LedgerTail, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in steps()[:10]:
        step.append_to(tail)
    tail.pin(foreign(1))
    tail.hold(PEER, foreign(2))
    write, calls = tail._file.write, 0

    def full_once(change: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise NoRoom
        return write(change)  # type: ignore[arg-type]

    monkeypatch.setattr(tail._file, "write", full_once)
    assert tail._evict()
    assert tail.covers_from == 10
    assert tail.head() == (9, steps()[9].link.hash)
    assert tail.filter_covers
    assert tail.pinned() == [foreign(1)]
    assert tail.held(foreign(2).id) is None
    assert not tail._evict()
    check_standing(tail, steps()[9])
    steps()[10].append_to(tail)


def test_a_new_file_without_room_for_the_own_blocks_is_said(tail: LedgerTail, monkeypatch: pytest.MonkeyPatch) -> None:
    steps()[0].append_to(tail)

    def full(change: object) -> object:
        raise NoRoom

    monkeypatch.setattr(tail._file, "write", full)
    with pytest.raises(LedgerFull, match="memory only"):
        tail._evict()


def test_missing_blocks_are_damage(tail: LedgerTail) -> None:
    steps()[0].append_to(tail)
    tail._file.write(lambda txn: txn.drop(tail._file.db["indexed"], delete=False))
    with pytest.raises(LedgerCorrupt, match="is missing"):
        tail._evict()


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least"):
        LedgerTail.open(tmp_path, SMALL - 1)
    (tmp_path / "file").write_text("x")
    with pytest.raises(LedgerError, match="cannot be made"):
        LedgerTail.open(tmp_path / "file" / "tail", SMALL)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "data.mdb").write_bytes(b"x" * 10_000)
    with pytest.raises(LedgerCorrupt):
        LedgerTail.open(tmp_path / "bad", SMALL)
    (tmp_path / "bad" / "data.mdb").unlink()
    (tmp_path / "bad" / "data.mdb").mkdir()
    with pytest.raises(LedgerError):
        LedgerTail.open(tmp_path / "bad", SMALL)


def test_a_file_larger_than_allowed_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path, 4 << 20) as tail:
        for step in steps()[:40]:
            step.append_to(tail)
    assert (tmp_path / "data.mdb").stat().st_size > SMALL
    with pytest.raises(LedgerError, match="more than"):
        LedgerTail.open(tmp_path, SMALL)


def test_standings_are_the_words_of_the_validity_rules() -> None:
    from scichain_wf.consensus.validity import Known

    assert {standing.value for standing in Standing} == {known.value for known in Known}
