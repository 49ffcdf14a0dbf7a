"""How hard a block's puzzle must be: fixed, or adaptive (SciChain §5.4's open question; decision 4).

Adaptive: mining takes at most a set share of the time between two blocks of one node. That time follows from the
times of two links, the anchors, which the height of the block's parent names; so a proposer, the storage node and an
auditor get the same number, whenever they look. Integers only: a verifier in any language gets it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, cast

from scichain_wf import limits
from scichain_wf.model.schema import AnyOf, Choice, Integer, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from scichain_wf.model.canonical import JsonObject

_VALUE: Final = Integer(0, limits.DIFFICULTY_MAX)
DIFFICULTY: Final = AnyOf(
    Record(
        {
            "rule": Choice("adaptive"),
            "value": _VALUE,
            "share_permille": Integer(1, 1_000),
            "hashes_per_s": Integer(1, limits.HASHES_PER_S_MAX),
        }
    ),
    Record({"rule": Choice("fixed"), "value": _VALUE}),
)


@dataclass(frozen=True, slots=True)
class Difficulty:
    """What an epoch states about the puzzle, in leading zero hex digits.

    Attributes:
        rule: `fixed` or `adaptive`.
        value: the difficulty; of an adaptive one, before there are anchors.
        share_permille: adaptive: thousandths of one node's block interval that the expected search may take.
        hashes_per_s: adaptive: what one node is taken to search.
    """

    rule: str = "fixed"
    value: int = 1
    share_permille: int = 0
    hashes_per_s: int = 0

    @classmethod
    def from_value(cls, value: object) -> Self:
        """From a value that fits `DIFFICULTY`."""
        v = cast("dict[str, int]", value)
        return cls(str(v["rule"]), v["value"], v.get("share_permille", 0), v.get("hashes_per_s", 0))

    def as_value(self) -> JsonObject:
        """Inverse of `from_value`."""
        stated: JsonObject = {"rule": self.rule, "value": self.value}
        if self.rule == "adaptive":
            stated |= {"share_permille": self.share_permille, "hashes_per_s": self.hashes_per_s}
        return stated


def anchors(parent_height: int) -> tuple[int, int] | None:
    """Heights of the two links whose times decide for a block on the parent at this height; None: too few links."""
    period = parent_height // limits.RETARGET_LINKS
    return None if period <= 0 else ((period - 1) * limits.RETARGET_LINKS, period * limits.RETARGET_LINKS)


def is_outdated(difficulty: Difficulty, parent_height: int, head_height: int, time_us: Callable[[int], int]) -> bool:
    """Whether a parent is too old for a block that would follow the link at `head_height`.

    Only where the difficulty follows from the parent: elsewhere an old one gains nothing. `time_us` as in `expected`,
    of these two heights.
    """
    if difficulty.rule == "fixed":
        return False
    return time_us(head_height) - time_us(parent_height) > limits.PARENT_AGE_US_MAX


def needed(size: int) -> range:
    """Heights of the anchors below `size` that blocks on the newest of so many links, or on later ones, follow from."""
    newest = max(size - 1, 0) // limits.RETARGET_LINKS
    return range(max(newest - 1, 0) * limits.RETARGET_LINKS, size, limits.RETARGET_LINKS)


def expected(difficulty: Difficulty, mining: str, slots: int, parent_height: int, time_us: Callable[[int], int]) -> int:
    """The difficulty of a block.

    Args:
        difficulty: the rule of the epoch in force.
        mining: `own`, or `race` (then all slots search).
        slots: of that epoch.
        parent_height: of the block's parent.
        time_us: time of the link at a height; called for the anchors only. What it raises is passed on.
    """
    heights = anchors(parent_height)
    if difficulty.rule == "fixed" or heights is None:
        return difficulty.value
    # Everything is multiplied by RETARGET_LINKS instead of divided: nothing is rounded.
    spans_us = (time_us(heights[1]) - time_us(heights[0])) * slots
    shortest, longest = (limits.RETARGET_LINKS * bound for bound in (limits.INTERVAL_US_MIN, limits.INTERVAL_US_MAX))
    spans_us = min(max(spans_us, shortest), longest)
    hashes_per_s = difficulty.hashes_per_s * (slots if mining == "race" else 1)
    allowed = spans_us * difficulty.share_permille * hashes_per_s
    unit = limits.RETARGET_LINKS * 1_000 * 1_000_000
    return max((d for d in range(limits.DIFFICULTY_MAX + 1) if 16**d * unit <= allowed), default=0)
