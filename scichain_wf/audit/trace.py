"""Traceability (V4, SAFE-5): is every input of an uncontested task a source, or a version somebody recorded?

What a task could know are the outputs recorded before it, in earlier blocks and earlier in its own. The artifact
index answers that for any place on the chain; that the index equals the blocks is checked by the walk, so heights
can be judged in any order.
"""

from __future__ import annotations

from typing import cast

from scichain_wf.ledger.problem import Problem
from scichain_wf.ledger.rawread import RawLedger
from scichain_wf.ledger.stored import StoredBlock, Walked
from scichain_wf.model.link import Mark

KNOWN, SOURCE, UNDECIDED, UNRECORDED = range(4)
"""A recorded version has the digest; nobody produced it; a version without digest leaves it open; none has it."""


def check_traceability(ledger: RawLedger, block: StoredBlock, found: Walked) -> None:
    """Hold the annotations of one block against the inputs of its tasks."""
    contested, unresolved, skip = block.marks[Mark.CONTESTED], block.marks[Mark.UNRESOLVED], block.marks[Mark.DUPLICATE]
    from_hex, standing_of, height = bytes.fromhex, ledger.standing_of, block.height
    for index, value in enumerate(block.parsed):
        if value["kind"] != "task" or index in skip:
            continue
        body = cast("dict[str, list[dict[str, str]]]", value["body"])
        unrecorded = ""
        waiting = ""
        for item in body["inputs"]:
            digest = item.get("digest")
            if digest is None:
                continue  # it states no content that could be traced
            uri = item["uri"]
            if item.get("unresolved"):
                waiting = waiting or uri
                continue
            standing = standing_of(uri, from_hex(digest[7:]), height, index)
            if standing == UNRECORDED:
                unrecorded = unrecorded or f"{uri} with {digest}"
            elif standing == SOURCE and item.get("origin", "").startswith("task:"):
                waiting = waiting or uri
        if unrecorded or waiting or index in contested or index in unresolved:
            _judge(block, index, unrecorded, waiting, found)


def _judge(block: StoredBlock, index: int, unrecorded: str, waiting: str, found: Walked) -> None:
    value = cast("dict[str, dict[str, str]]", block.parsed[index])
    subject = f"task {value['body']['task']!r:.200} (transaction {index} at height {block.height})"
    key = cast("str", block.parsed[index]["key"])
    reasons = {a.mark: "; ".join(a.reasons) for a in block.link.annotations if a.index == index}

    def add(code: str, actual: str) -> None:
        found.problems.add(Problem(code, subject, "", actual, block.height, index, key))

    if Mark.CONTESTED in reasons:
        add("trace-contested" if unrecorded else "trace-false", reasons[Mark.CONTESTED] or unrecorded)
    elif unrecorded:
        add("trace-unmarked", unrecorded)
    if Mark.UNRESOLVED in reasons:
        add("trace-unresolved", reasons[Mark.UNRESOLVED] or waiting)
    elif waiting:
        add("trace-unresolved-unmarked", waiting)
