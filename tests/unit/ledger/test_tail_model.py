"""The ledger tail under random use, every answer held against a model that forgets nothing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scichain_wf.crypto.hashing import sha256
from scichain_wf.ledger.filter import MembershipFilter
from scichain_wf.ledger.keys import uri_key
from scichain_wf.ledger.standing import Standing
from scichain_wf.ledger.tail import LedgerTail
from scichain_wf.model.block import Block
from tests.unit.ledger.tail_chain import (
    OTHER_PEER,
    PEER,
    SALT,
    SMALL,
    check_standing,
    foreign,
    size_bytes,
    steps,
    uri,
)


class TailMachine(RuleBasedStateMachine):
    """Random use of a tail of the smallest size; every answer held against the model."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="scichain-tail-"))
        self.tail = LedgerTail.open(self.directory, SMALL, SALT)
        self.next = 0
        self.own: dict[bytes, Block] = {}
        self.held: dict[bytes, tuple[bytes, Block]] = {}

    @initialize(start=st.sampled_from([0, 0, 0, 5]))
    def begin(self, start: int) -> None:
        self.next = start

    @precondition(lambda self: self.next < len(steps()))
    @rule(count=st.integers(1, 8))
    def append(self, count: int) -> None:
        for step in steps()[self.next : self.next + count]:
            step.append_to(self.tail)
            self.next = step.link.height + 1

    @rule(number=st.integers(0, 5), size=st.sampled_from([100, 30_000]))
    def pin(self, number: int, size: int) -> None:
        block = foreign(number, size)
        self.tail.pin(block)
        self.own[block.id] = block

    @rule(number=st.integers(0, 5), size=st.sampled_from([100, 30_000]))
    def unpin(self, number: int, size: int) -> None:
        block_id = foreign(number, size).id
        self.tail.unpin(block_id)
        self.own.pop(block_id, None)

    @rule(number=st.integers(6, 20), peer=st.sampled_from([PEER, OTHER_PEER]))
    def hold(self, number: int, peer: bytes) -> None:
        block = foreign(number)
        if self.tail.hold(peer, block):
            self.held.setdefault(block.id, (peer, block))

    @rule(number=st.integers(6, 20))
    def release(self, number: int) -> None:
        self.tail.release(foreign(number).id)
        self.held.pop(foreign(number).id, None)

    @rule()
    def reopen(self) -> None:
        self.tail.close()
        self.tail = LedgerTail.open(self.directory, SMALL, SALT)

    @rule()
    def crash(self) -> None:
        """The file as it is, the filter as some earlier process left it."""
        self.tail._file.close()
        self.tail = LedgerTail.open(self.directory, SMALL, SALT)

    @rule()
    def adopt(self) -> None:
        head = self.tail.head()
        if head is not None and self.tail.covers_from:
            step = steps()[self.tail.covers_from - 1]
            assert self.tail.adopt(MembershipFilter(SALT, map(uri_key, step.versions)), self.tail.covers_from)
            assert self.tail.filter_covers

    @invariant()
    def it_agrees_with_the_model(self) -> None:
        head = self.tail.head()
        assert (head is None) or head == (self.next - 1, steps()[self.next - 1].link.hash)
        if head is None:
            assert self.tail.lookup(uri(0), sha256(b"0")) is Standing.UNKNOWN
            return
        assert self.tail.covers_from <= self.next
        for height in range(self.next):
            step, kept = steps()[height], height >= self.tail.covers_from
            assert (self.tail.link(height) == step.link) is kept
            assert (self.tail.block_bytes(height) == step.block.block.encode()) is kept
        check_standing(self.tail, steps()[self.next - 1])

    @invariant()
    def own_and_foreign_blocks_are_kept(self) -> None:
        assert {block.id: block for block in self.tail.pinned()} == self.own
        for block_id, (_, block) in self.held.items():
            assert self.tail.held(block_id) == block

    @invariant()
    def the_bytes_are_bounded(self) -> None:
        assert size_bytes(self.directory) <= SMALL

    def teardown(self) -> None:
        self.tail.close()
        shutil.rmtree(self.directory)


TestTailAgainstAModel = TailMachine.TestCase
TestTailAgainstAModel.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
