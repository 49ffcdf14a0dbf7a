"""What a liar sends instead of what an honest agent would: one class per lie.

A liar runs the honest core, since a liar that never gets anything right is easily ignored, and changes what comes out
of it. It can sign only with its own key.
"""

from __future__ import annotations

from typing import Final

from scichain_wf.sim.lies import blocks, messages, storage, tasks, votes
from scichain_wf.sim.lies.lie import Lie

LIES: Final[dict[str, type[Lie]]] = {
    lie.name: lie
    for lie in (
        blocks.Equivocate,
        votes.Withhold,
        votes.AllInvalid,
        votes.AllValid,
        votes.Contradict,
        votes.BadSignatures,
        tasks.ForgeDigests,
        tasks.Claim,
        messages.Impersonate,
        messages.Replay,
        messages.Puzzles,
        storage.ForgeCertificates,
        storage.Spoil,
        storage.Flood,
        blocks.Copy,
        blocks.MakeForget,
        blocks.Ahead,
    )
}
