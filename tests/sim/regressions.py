"""Scenarios that once broke a promise, each shrunk, with what it found."""

from __future__ import annotations

from dataclasses import replace

from tests.sim.mutants import quiet

REGRESSIONS = {
    # Storage gave the answer to whoever had brought a block first to all who brought it later. A liar is one hop
    # faster than a proposer that waits for votes: it brought others' blocks with a broken signature, and every honest
    # block of the chain was refused (LIVE-1). Now a block is brought by its proposer only.
    "a liar brings the blocks of others, spoilt": replace(quiet(3, rate=30.0, sync_s=0.1), lies=((3, "spoil"),)),
}
