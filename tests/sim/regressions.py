"""Scenarios that once broke a promise, each shrunk, with what it found."""

from __future__ import annotations

from dataclasses import replace

from scichain_wf.sim.faults import Fault, Kind
from tests.sim.mutants import quiet

REGRESSIONS = {
    # Storage gave the answer to whoever had brought a block first to all who brought it later. A liar is one hop
    # faster than a proposer that waits for votes: it brought others' blocks with a broken signature, and every honest
    # block of the chain was refused (LIVE-1). Now a block is brought by its proposer only.
    "a liar brings the blocks of others, spoilt": replace(quiet(3, rate=30.0, sync_s=0.1), lies=((3, "spoil"),)),
    # A rolled-back storage counted who held a link that it lacked, and took one off the list again because that agent's
    # older checkpoint agreed: with words alone it was never stopped, and appended (SAFE-7; seeds 3160, 5160, 6056).
    "an old checkpoint takes nothing back": replace(
        quiet(3, rate=20.0, checkpoint_s=1.0, sync_s=0.05, probe_s=None),
        faults=(Fault(Kind.ROLLBACK, 0.2, 1.6, (0,)), Fault(Kind.CRASH, 1.5, 2.5, (2,))),
    ),
}
