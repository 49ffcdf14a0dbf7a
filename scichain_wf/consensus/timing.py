"""How long things may take, in seconds of the clock that `now` reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Settings of an agent; one object, so that the simulator can vary them together.

    Attributes:
        draft_interval_s: a draft is sealed after this, however few transactions are in it.
        draft_pause_s: but not sooner than this after the one before, unless enough is in it or somebody waits.
        tick_s: verdicts of this span after those that left last share one signature; else they leave at once.
        deadline_s: without a quorum after this, the block is extended to storage (POET). While a validator that has
            not judged the block judges others, the wait goes on: it is busy, not gone.
        patience_s: the wait ends after this in any case: a validator may judge everything but this block for ever.
        unresolved_after_s: a transaction waits this long for its inputs' producers; less than a flush's deadline.
        backoff_s, backoff_s_max: first and longest pause before a parked block is sent again, and before missing links
            are asked for again.
        mesh_slots: up to so many slots a proposal goes to each directly; beyond, down a tree over the slot list.
        fanout: children of each slot in that tree.
    """

    draft_interval_s: float = 0.05
    draft_pause_s: float = 0.2
    tick_s: float = 0.001
    deadline_s: float = 2.0
    patience_s: float = 10.0
    unresolved_after_s: float = 10.0
    backoff_s: float = 0.1
    backoff_s_max: float = 5.0
    mesh_slots: int = 64
    fanout: int = 8
