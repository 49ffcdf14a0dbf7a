"""The table of a block's states, and the page that is made from it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from scichain_wf.consensus.proposer import TRANSITIONS, Move, State
from tests.generators import generator

GENERATOR = generator("generate_transitions")


def reachable(start: State) -> set[State]:
    """`start` and every state that moves lead to from it."""
    found: set[State] = set()
    waiting = [start]
    while waiting:
        state = waiting.pop()
        if state not in found:
            found.add(state)
            waiting += TRANSITIONS[state].values()
    return found


def test_every_draft_can_come_to_an_end_from_wherever_it_is() -> None:
    assert reachable(State.DRAFT) == set(State)
    assert all(State.COMMITTED in reachable(state) for state in State if state is not State.REJECTED)
    assert {state for state, moves in TRANSITIONS.items() if not moves} == {State.COMMITTED, State.REJECTED}


def test_the_published_page_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert GENERATOR.main(["--check"]) == 0, "python docs/generate_transitions.py"
    assert not capsys.readouterr().err


def test_the_generator_notices_a_missing_and_a_changed_file(tmp_path: Path) -> None:
    assert GENERATOR.main(["--check"], tmp_path) == 1
    assert GENERATOR.main([], tmp_path) == 0
    assert GENERATOR.main(["--check"], tmp_path) == 0
    (tmp_path / GENERATOR.DIAGRAM).write_text("old")
    assert GENERATOR.main(["--check"], tmp_path) == 1


def test_the_diagram_shows_every_state_and_every_move() -> None:
    picture = ET.fromstring(GENERATOR.diagram())  # noqa: S314 - made by ourselves a line above
    words = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    moves = [move for after in TRANSITIONS.values() for move in after]
    assert sorted(map(str, words)) == sorted([*map(str, State), *map(str, moves)])


def test_a_transition_that_nobody_described_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRANSITIONS, State.REJECTED, {Move.PROPOSE: State.REJECTED})
    assert "c-14,28" in GENERATOR.diagram()  # an arrow back to its own line
    with pytest.raises(KeyError):
        GENERATOR.page()
