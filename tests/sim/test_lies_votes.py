"""Votes that nobody signed and puzzles that are nobody's: what is sent, and what it costs the others."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from scichain_wf.consensus import messages
from scichain_wf.crypto.hashing import Domain
from scichain_wf.model.verdict import VerdictBatch
from scichain_wf.sim.agents import AgentProcess
from scichain_wf.sim.liars import LyingProcess
from scichain_wf.sim.lies.lie import Lie
from scichain_wf.sim.lies.messages import Puzzles
from scichain_wf.sim.lies.votes import BadSignatures
from scichain_wf.sim.result import Result
from scichain_wf.sim.storages import StorageProcess
from scichain_wf.sim.world import World
from tests.sim.mutants import quiet
from tests.sim.test_lies import SLOT, Truth

BY_NAME = {lie.name: lie for lie in (BadSignatures, Puzzles)}


def lying(truth: Truth, name: str) -> Lie:
    return BY_NAME[name](SLOT, 3, truth.builder.nodes[SLOT], Random(1))


def test_half_of_the_votes_are_not_signed() -> None:
    """The batch is the same but for its signature; nothing else is touched."""
    t = Truth()
    lie = lying(t, "bad-signatures")
    assert lie.outgoing(1, t.propose) == [(1, t.propose)]
    sent = [lie.outgoing(1, t.verdicts) for _ in range(60)]
    batches = [message.batch for ((to, message),) in sent if to == 1 and isinstance(message, messages.Verdicts)]
    assert len(batches) == 60
    honest = replace(t.verdicts.batch, signature=bytes(64))
    assert {replace(batch, signature=bytes(64)) for batch in batches} == {honest}
    key = t.builder.nodes[SLOT].public
    signed = [key.is_valid(Domain.VERDICT_BATCH, batch.signature, batch.header.encode()) for batch in batches]
    assert 15 < sum(signed) < 45
    assert len({batch.signature for batch in batches}) > 10
    assert all(VerdictBatch.decode(batch.encode()) == batch for batch in batches)


def test_made_up_puzzles_and_copies() -> None:
    """Made-up ones beside what it says anyway; each puzzle that it hears of is copied to everybody, once."""
    t = Truth()
    lie = lying(t, "puzzles")
    assert lie.outgoing(0, t.push) == [(0, t.push)]
    sent = [lie.outgoing(1, message) for message in (t.propose, t.verdicts) * 10]
    made_up = {first[1].block for first, _ in sent if isinstance(first[1], messages.Puzzle)}
    assert len(made_up) == 20
    assert [last for _, last in sent] == [(1, t.propose), (1, t.verdicts)] * 10
    asked = messages.Puzzle(t.block.id, 3)
    copies = lie.heard(asked)
    assert [to for to, _ in copies] == [1, 3]
    for _, copy in copies:
        assert isinstance(copy, messages.Puzzle)
        assert copy.block == asked.block
        assert 1 <= copy.difficulty <= 3
    assert lie.heard(asked) == lie.heard(t.propose) == []


def among(liars: int, lie: type[Lie], **changed: Any) -> Result:
    """A quiet world of five in which the first slots tell this lie."""
    config = quiet(5, rate=40.0, tampered=0.0, **changed).config
    process = type(f"Lying_{lie.name}", (LyingProcess,), {"lie_type": lie})
    world = World(config, (), AgentProcess, StorageProcess, dict.fromkeys(range(1, liars + 1), process))
    world.liars = frozenset(range(1, liars + 1))
    return world.run()


@pytest.mark.parametrize("liars", [1, 2])
def test_where_some_do_not_sign_their_votes_quorums_come_from_others(liars: int) -> None:
    """Spec: LIVE-2."""
    result = among(liars, BadSignatures)
    assert result.committed == result.submitted > 20
    assert result.modes == {"quorum": result.blocks}
    assert result.dropped["bad signature"] > 0


@pytest.mark.parametrize("difficulty", [1, 2])
def test_made_up_puzzles_keep_nobody_from_a_race(difficulty: int) -> None:
    """Spec: LIVE-2."""
    result = among(2, Puzzles, mining="race", difficulty=difficulty)
    assert result.committed == result.submitted > 20
    assert result.modes == {"quorum": result.blocks}
    assert result.dropped["puzzle solved"] > 0
