"""One checker per promise that a simulation can decide; the table of 30-post, "Invariants"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scichain_wf.sim import checks_chain, checks_nodes
from scichain_wf.sim.checking import Checkers

if TYPE_CHECKING:
    from collections.abc import Collection

    from scichain_wf.sim.checking import Checker, Premises

ALL: Final[tuple[type[Checker], ...]] = (
    checks_chain.OneLinkPerHeight,
    checks_nodes.OneValidPerSequence,
    checks_chain.DurableBeforeSent,
    checks_chain.Certified,
    checks_chain.Traceable,
    checks_chain.CommittedOnce,
    checks_nodes.RolledBackStops,
    checks_chain.OneWriter,
    checks_nodes.EverythingCommitted,
    checks_nodes.QuorumSuffices,
    checks_nodes.OneChainEverywhere,
    checks_chain.NothingContested,
    checks_nodes.NothingLost,
)
TAGS: Final = tuple(checker.tag for checker in ALL)


def checkers(premises: Premises, without: Collection[str] = ()) -> Checkers:
    """An observer with every checker but those whose tag is in `without`."""
    return Checkers(premises, [checker for checker in ALL if checker.tag not in without])
