"""What a service says of one run at its end. Standard library only: engines import this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, cast


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of one run.

    Attributes:
        transactions: committed transactions by `quorum`, `poet` and `spool` (adopted from the spool).
        tasks: how many of them are tasks.
        voters: `slot 1 (host)`: whose verdicts are in the certificates of the run's blocks.
        head_height: height of the newest link.
        head: its hash.
        trust_root: the chain's id.
    """

    transactions: dict[str, int]
    tasks: int
    voters: list[str]
    head_height: int
    head: bytes
    trust_root: bytes

    @classmethod
    def from_value(cls, value: dict[str, object]) -> Self:
        """From a service's line."""
        return cls(
            transactions=cast("dict[str, int]", value["transactions"]),
            tasks=cast("int", value["tasks"]),
            voters=cast("list[str]", value["voters"]),
            head_height=cast("int", value["head_height"]),
            head=bytes.fromhex(cast("str", value["head"])),
            trust_root=bytes.fromhex(cast("str", value["trust_root"])),
        )
