"""The paper's walk-throughs: the steps of Figure 4, and conditions C1 and C2 of the liveness proof (SciChain §3.4)."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from tests.sim import paper
from tests.sim.paper import PROPOSER, Scene


@pytest.mark.parametrize("name", paper.SCENES)
def test_the_transcript_is_as_checked_in(name: str) -> None:
    stored = (paper.DIRECTORY / f"{name}.txt").read_text(encoding="utf-8")
    assert paper.text(name) == stored, "python -m tests.sim.paper --accept, if it may change"


def test_transcripts_that_changed_are_named_and_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gone.txt").touch()
    assert paper.main([], tmp_path) == 1
    assert "gone.txt is not as" in capsys.readouterr().out
    assert paper.main(["--accept"], tmp_path) == 0
    assert {path.stem for path in tmp_path.iterdir()} == paper.SCENES.keys()
    assert paper.main([], tmp_path) == 0


def test_the_steps_of_figure_4() -> None:
    """The shared storage takes part in the validation (step 6) "only if more than 50% compute nodes are unable to"."""
    assert paper.figure_4().transcript.steps == {"1", "2", "3", "4", "5", "7", "8"}
    assert paper.figure_4_pull().transcript.steps == {"1", "2", "3", "6", "7", "8"}


@pytest.mark.parametrize("nodes", [4, 5])
def test_c1_between_commit_and_abort_is_no_state(nodes: int) -> None:
    """ "No matter how many nodes have verified …, for each possible case, there is only one possible outcome."

    Spec: LIVE-1, SAFE-6. The paper's two cases leave out N/2 < m <= N/2 + 1, where a majority just exists: it is as
    the second.
    """
    for m in range(1, nodes + 1):
        scene = paper.condition_1(m, nodes)
        assert is_done(scene), m
        blocks = scene.transcript.text().count(" packed ")
        assert blocks == (1 if m > nodes / 2 else 2), f"m = {m}: {scene.transcript.text()}"


def test_c2_a_restarted_node_asks_and_then_there_is_one_outcome_wherever_it_failed() -> None:
    """ "POST does not exhibit an indeterministic state": P fails before each of its effects, one run for each.

    Spec: LIVE-1, SAFE-6, LOSS-1.
    """
    outcomes = set()
    for effect in count():
        scene = Scene(nodes=3)
        scene.world.crash_between = Between(scene, effect)
        scene.submit()
        scene.run()
        text = scene.transcript.text()
        assert is_done(scene), text
        if "failed" not in text:
            break
        outcomes.add("abort" if "asks storage which of 12" in text and " 0 of 12 are" in text else "commit")
    assert effect >= 5, "P sends its block to two, pushes it, settles, and sets timers"
    assert outcomes == {"abort", "commit"}


class Between:
    """Crashes the proposer before its n-th effect from now on, and starts it again."""

    def __init__(self, scene: Scene, effect: int) -> None:
        self._scene, self._left = scene, effect

    def __call__(self, endpoint: int, _index: int) -> bool:
        if endpoint == PROPOSER:
            self._left -= 1
        if endpoint != PROPOSER or self._left != -1:
            return False
        self._scene.world.kernel.after(paper.AWAY_S, self._scene.world.restart, PROPOSER)
        return True


def is_done(scene: Scene) -> bool:
    """Every transaction is in one link, and the proposer's outbox let go of it."""
    return all(len(modes) == 1 for modes in scene.commits.values()) and not scene.world.agents[PROPOSER].outbox
