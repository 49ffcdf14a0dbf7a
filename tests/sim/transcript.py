"""A simulated world's observations as text that a person can follow beside the paper.

A line is a time (milliseconds after the transcript began), the step of the paper's Figure 4 that it is part of, and a
sentence. What several nodes do at one moment is one line. Blocks are named as in the paper's Figure 5: `1_2` is the
second block that slot 1 made. A proposer's own vote goes nowhere, so it shows only in its certificate.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from scichain_wf.consensus import messages
from scichain_wf.model.block import Block
from scichain_wf.model.link import Mode
from scichain_wf.model.verdict import Verdict, Vote
from scichain_wf.sim import control, observe
from scichain_wf.sim.observe import Clock, Observation


@dataclass
class Line:
    """`before`, the slots, `after`; lines of one moment that differ in their slots only are one line."""

    at: float
    step: str
    before: str
    slots: list[int] = field(default_factory=list)
    after: str = ""

    def text(self, start: float) -> str:
        """As it is printed."""
        step = f"step {self.step}" if self.step else ""
        return f"{(self.at - start) * 1e3:10.3f}  {step:8}  {self.before}{slots(self.slots)}{self.after}".rstrip()


def slots(numbers: list[int]) -> str:
    """`slot 1`, `slots 2, 3`; 0 is storage."""
    if not numbers or numbers == [0]:
        return "storage" if numbers else ""
    names = sorted(set(numbers))
    return f"slot{'s' if len(names) > 1 else ''} {', '.join(map(str, names))}"


class Transcript:
    """An observer of a world, from `begin` on."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._start: float | None = None
        self._names: dict[bytes, str] = {}
        self._made: Counter[int] = Counter()
        self._links: dict[bytes, str] = {}

    def begin(self, now: float) -> None:
        """What happened so far is not part of it."""
        self._start = now
        self._lines.clear()

    def text(self) -> str:
        """Everything so far."""
        start = self._start or 0.0
        return "".join(f"{line.text(start)}\n" for line in self._lines)

    @property
    def steps(self) -> set[str]:
        """Steps of Figure 4 that happened."""
        return {line.step for line in self._lines if line.step}

    def observe(self, world: Clock, what: Observation) -> None:
        """Write down `what`, if it is part of a walk-through."""
        line = self._line(world.now, what)
        if line is None or self._start is None:
            return
        last = self._lines[-1] if self._lines else None
        same = last and (last.at, last.step, last.before, last.after) == (line.at, line.step, line.before, line.after)
        if last is not None and same and line.slots:
            last.slots += line.slots
        else:
            self._lines.append(line)

    def _line(self, now: float, what: Observation) -> Line | None:
        match what:
            case observe.Submitted(slot, ids):
                return Line(now, "1", f"{count(ids)} in the outbox of ", [slot], ", each known by its SHA-256")
            case observe.Sent(frm, to, message):
                return self._sent(now, frm, to, message)
            case observe.Delivered(frm, to, messages.Verdicts(batch)):
                about = [self._names[entry.block] for entry in batch.entries if entry.block in self._names]
                return Line(now, "5", f"slot {to} hears about block {', '.join(about)} from ", [frm])
            case observe.Voted(slot, _, batch):
                words = [
                    f"{entry.verdict} on block {self._names[entry.block]}"
                    for entry in batch.entries
                    if entry.block in self._names
                ]
                return Line(now, "5", "", [slot], f" judged: {', '.join(words)}") if words else None
            case observe.LinkDurable(link) if link.mode is Mode.EPOCH:
                text = "on disk: a new key is bound, the slot's old one is fenced"
                return Line(now, "", f"storage has link {link.height} (epoch) {text}")
            case observe.LinkDurable(link, block):
                name = self._links[link.hash] = f"link {link.height} ({link.mode})"
                marks = f", marks {len(link.annotations)}" if link.annotations else ""
                return Line(now, "7", f"storage has {name} over block {self._name(block.block, 0)} on disk{marks}")
            case observe.NodeApplied(slot, link) if link.hash in self._links:
                return Line(now, "8", "", [slot], f": {self._links[link.hash]} is in the ledger tail")
            case observe.SettledAt(slot, ids):
                return Line(now, "", "", [slot], f": the outbox lets go of {count(ids)}: committed")
            case observe.Crashed(endpoint):
                return Line(now, "", "failed: ", [endpoint])
            case observe.Restarted(endpoint):
                return Line(now, "", "restarted: ", [endpoint])
        return None

    def _sent(self, now: float, frm: int, to: int, message: object) -> Line | None:
        if isinstance(message, messages.Propose | messages.Push | messages.Extend):
            self._packed(now, frm, message.block)
        match message:
            case messages.Propose(block):
                return Line(now, "4", f"slot {frm} sends block {self._name(block, frm)} to ", [to])
            case messages.Push(block, certificate):
                voters = slots([vote.header.slot for vote in certificate.votes])
                return Line(now, "7", f"slot {frm} pushes block {self._name(block, frm)}: {voters} said VALID")
            case messages.Extend(block, _, votes, reason):
                name = self._name(block, frm)
                return Line(now, "6", f"slot {frm} asks storage to judge block {name} ({reason}): {said(votes)}")
            case messages.Committed(link, _) if link.hash in self._links:
                return Line(now, "8", f"storage sends {self._links[link.hash]} to ", [to])
            case control.Query(asked):
                return Line(now, "", f"slot {frm} asks storage which of {len(asked)} transactions are committed")
            case control.Known(committed):
                known = sum(yes for _, yes in committed)
                return Line(now, "", f"storage answers from its disk: {known} of {len(committed)} are, to ", [to])
            case messages.Answer(block, answer, _, reason):
                words = f": {answer}, {reason}" if reason else f": {answer}"
                return Line(now, "", f"storage answers about block {self._names.get(block, '?')} to ", [to], words)
        return None

    def _packed(self, now: float, slot: int, block: Block) -> None:
        """A block is first heard of when it is sent: say what happened to it before."""
        if block.id not in self._names and self._start is not None:
            name, header = self._name(block, slot), block.header
            self._lines.append(Line(now, "2", f"slot {slot} packed {count(block.transactions)} into block {name}"))
            solved = f"its puzzle (difficulty {header.difficulty}) is solved"
            puzzle = solved if header.difficulty else "it has no puzzle"
            self._lines.append(Line(now, "3", f"block {name} is the next in the queue; {puzzle}"))

    def _name(self, block: Block, slot: int) -> str:
        if block.id not in self._names:
            self._made[slot] += 1
            self._names[block.id] = f"{slot}_{self._made[slot]}"
        return self._names[block.id]


def count(things: tuple[bytes, ...]) -> str:
    """How many transactions."""
    return f"{len(things)} transaction{'' if len(things) == 1 else 's'}"


def said(votes: tuple[Vote, ...]) -> str:
    """Who said what."""
    by_verdict: dict[Verdict, list[int]] = {}
    for vote in votes:
        by_verdict.setdefault(vote.entry.verdict, []).append(vote.header.slot)
    return "; ".join(f"{slots(who)} said {verdict}" for verdict, who in by_verdict.items()) or "nobody answered"
