"""The paper's walk-throughs as scenes of a simulated world, and their transcripts.

    python -m tests.sim.paper [--accept]

Without `--accept` it says which transcripts in tests/sim/golden would change, and exits 1 if any would.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from scichain_wf import limits
from scichain_wf.consensus import messages
from scichain_wf.sim import observe
from scichain_wf.sim.config import SimConfig
from scichain_wf.sim.observe import Clock, Observation
from scichain_wf.sim.world import World
from tests.sim.transcript import Transcript

DIRECTORY: Final = Path(__file__).parent / "golden"
JOINED_S: Final = 1.0
"""By then every node has joined and nothing is on its way."""
AWAY_S: Final = 0.1
"""How long a node that failed is away."""
END_S: Final = 30.0
PROPOSER: Final = 1
"""The paper's P."""


class Scene:
    """A world in which everybody has joined, and what happens in it from then on.

    Attributes:
        world, transcript: the world and what is written down of it.
        submitted: ids of what was given to the proposer's outbox.
    """

    def __init__(self, nodes: int, difficulty: int = 0) -> None:
        self.world = World(SimConfig(nodes=nodes, rate=0, difficulty=difficulty, duration_s=0, drain_s=END_S))
        self.transcript = Transcript()
        self.submitted: tuple[bytes, ...] = ()
        self.world.observers.append(self.transcript)
        self.world.start()
        self.world.kernel.run(JOINED_S)
        self.transcript.begin(self.world.now)

    def submit(self) -> None:
        """As many tasks as make a block, to the proposer."""
        items = [self.world.workload.item([], self.world.now) for _ in range(limits.BLOCK_TRANSACTIONS_MIN)]
        self.submitted = tuple(item.id for item in items)
        self.world.submit(PROPOSER, items)

    def when(self, applies: Callable[[Observation], bool], action: Callable[[], object]) -> None:
        """Do something right after the first observation to which this applies, before the next event."""
        self.world.observers.append(Moment(self.world, applies, action))

    def fail(self) -> None:
        """The proposer's process fails, and is back a little later."""
        self.world.crash(PROPOSER)
        self.world.kernel.after(AWAY_S, self.world.restart, PROPOSER)

    def run(self) -> Scene:
        """To the end."""
        self.world.run()
        return self

    @property
    def commits(self) -> dict[bytes, list[str]]:
        """Transaction id → modes of the links that hold it and do not call it a duplicate."""
        history = self.world.disk.history
        found: dict[bytes, list[str]] = {identity: [] for identity in self.submitted}
        for link, block in zip(history.links, history.blocks, strict=True):
            marked = {annotation.index for annotation in link.annotations}
            for index, leaf in enumerate(block.leaves):
                if leaf in found and index not in marked:
                    found[leaf].append(str(link.mode))
        return found


class Moment:
    """An observer that acts once."""

    def __init__(self, world: World, applies: Callable[[Observation], bool], action: Callable[[], object]) -> None:
        self._world, self._applies = world, applies
        self._action: Callable[[], object] | None = action

    def observe(self, _world: Clock, what: Observation) -> None:
        """Perhaps this is it."""
        if self._action is not None and self._applies(what):
            action, self._action = self._action, None
            self._world.kernel.at(self._world.now, action)


class Validated:
    """Whether `m` nodes, the proposer among them, have verified its block, as far as the proposer heard."""

    def __init__(self, m: int) -> None:
        self._missing = m - 1

    def __call__(self, what: Observation) -> bool:
        match what:
            case observe.Delivered(_, 1, messages.Verdicts()):
                self._missing -= 1
            case observe.Sent(1, _, messages.Propose()):
                pass
            case _:
                return False
        return self._missing <= 0


def arrives(kind: type, at: int) -> Callable[[Observation], bool]:
    """A message of this kind arrives at this endpoint."""
    return lambda what: isinstance(what, observe.Delivered) and what.to == at and isinstance(what.message, kind)


# --- the scenes: each docstring is the sentence that is played -----------------------------------------
def figure_4() -> Scene:
    """Finally, the blocks are validated both in compute nodes (step 5) and optionally, in the shared storage
    (step 6) (i.e., Pull) to achieve POST consensus before storing them in the shared storage (step 7)
    (i.e., Push) and the compute nodes (step 8). (SciChain §4.1)
    """
    scene = Scene(nodes=3, difficulty=1)
    scene.submit()
    return scene.run()


def figure_4_pull() -> Scene:
    """It should be noted that the shared storage takes part in the validation process (i.e., step 6), only if
    more than 50% compute nodes are unable to provide consensus (i.e., step 5). (SciChain §4.1)
    """
    scene = Scene(nodes=3, difficulty=1)
    for slot in (2, 3):
        scene.world.crash(slot)
    scene.world.kernel.run(scene.world.now + AWAY_S)
    scene.submit()
    return scene.run()


def condition_1(m: int, nodes: int) -> Scene:
    """To verify C1, let's assume the node P who initiates the transaction fails after (m − 1) other nodes have
    validated P's request. (SciChain §3.4)
    """
    scene = Scene(nodes)
    for slot in range(m + 1, nodes + 1):
        scene.world.network.cut(PROPOSER, slot)  # these see the block when P is back
    scene.when(arrives(messages.Push, 0) if m > nodes // 2 else Validated(m), scene.fail)
    scene.world.kernel.after(AWAY_S / 2, scene.world.network.heal)
    scene.submit()
    return scene.run()


def condition_1_abort() -> Scene:
    """If m <= N/2, then P has not committed anything because the execution is incomplete according to Line 7 of
    Protocol 3. In other words, the state always indicates an abort, and the restarted P node will simply
    forward the transaction to fellow nodes to start the verification. (SciChain §3.4, C1; here m = 2, N = 5)
    """
    return condition_1(2, 5)


def condition_1_commit() -> Scene:
    """If m > N/2 + 1, then P should have persisted the change to the disk according to Line 11 of Protocol 3 and
    Line 20 of Protocol 2. In this case, when P restarts, it will definitely lead to a commit status.
    (SciChain §3.4, C1; here m = 4, N = 5)
    """
    return condition_1(4, 5)


def condition_2(fails: Callable[[Observation], bool]) -> Scene:
    """P fails at some moment, and is back a little later."""
    scene = Scene(nodes=3)
    scene.when(fails, scene.fail)
    scene.submit()
    return scene.run()


def condition_2_commit() -> Scene:
    """Once P restarts, it simply checks whether the transaction is stored in the persistent storage. If so, P
    will mark the transaction completed—a “commit” state; (SciChain §3.4, C2)
    """
    return condition_2(arrives(messages.Push, 0))


def condition_2_abort() -> Scene:
    """otherwise, P will resend everything and restart the consensus procedure—an “abort” state.
    (SciChain §3.4, C2)
    """
    return condition_2(arrives(messages.Propose, 2))


SCENES: Final[dict[str, Callable[[], Scene]]] = {
    "figure-4": figure_4,
    "figure-4-pull": figure_4_pull,
    "c1-abort": condition_1_abort,
    "c1-commit": condition_1_commit,
    "c2-commit": condition_2_commit,
    "c2-abort": condition_2_abort,
}
"""Name of the transcript → what is played."""


def text(name: str) -> str:
    """A transcript as it is stored."""
    scene = SCENES[name]
    quoted = "".join(f"> {line}\n" for line in inspect.cleandoc(scene.__doc__ or "").splitlines())
    return f"{quoted}\n        ms            what happens\n{scene().transcript.text()}"


def main(arguments: list[str] | None = None, directory: Path = DIRECTORY) -> int:
    """Compare, or with `--accept` write; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--accept", action="store_true", help="overwrite transcripts that changed")
    accept = parser.parse_args(arguments).accept
    made = {f"{name}.txt": text(name) for name in SCENES}
    stored = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.txt")}
    changed = sorted(name for name in made.keys() | stored.keys() if made.get(name) != stored.get(name))
    for name in changed:
        sys.stdout.write(f"{name} {'written or removed' if accept else 'is not as it would be played today'}\n")
        if accept and name in made:
            (directory / name).write_text(made[name], encoding="utf-8")
        elif accept:
            (directory / name).unlink()
    return 1 if changed and not accept else 0


if __name__ == "__main__":
    sys.exit(main())
