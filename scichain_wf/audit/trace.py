"""Traceability (V4, SAFE-5): is every input of an uncontested task a source, or a version somebody recorded?

What a task could know are the outputs recorded before it, in earlier blocks and earlier in its own. The artifact
index answers that for any place on the chain; that the index equals the blocks is checked by the walk, so heights
can be judged in any order.
"""

from __future__ import annotations

from binascii import unhexlify
from typing import cast

from scichain_wf.ledger.problem import Problem
from scichain_wf.ledger.rawread import RawLedger
from scichain_wf.ledger.stored import StoredBlock, Walked
from scichain_wf.model import facts, transaction
from scichain_wf.model.link import Mark

KNOWN, SOURCE, UNDECIDED, UNRECORDED = range(4)
"""A recorded version has the digest; nobody produced it; a version without digest leaves it open; none has it."""


def check_traceability(ledger: RawLedger, block: StoredBlock, found: Walked) -> None:
    """Hold the annotations of one block against the inputs of its tasks."""
    contested, unresolved, skip = block.marks[Mark.CONTESTED], block.marks[Mark.UNRESOLVED], block.marks[Mark.DUPLICATE]
    standing_of, height = ledger.standing_of, block.height
    for index, (_, _, _, _, inputs, _) in enumerate(block.facts):
        if index in skip:
            continue
        unrecorded = waiting = ""
        for uri, digest, origin, declared in inputs:  # without a digest one states nothing that could be traced
            if declared:
                waiting = waiting or uri.decode()
                continue
            standing = standing_of(uri, unhexlify(digest), height, index)
            if standing == UNRECORDED:
                unrecorded = unrecorded or f"{uri.decode()} with sha256:{digest.decode()}"
            elif standing == SOURCE and origin == facts.TASK:
                waiting = waiting or uri.decode()
        if unrecorded or waiting or index in contested or index in unresolved:
            _judge(block, index, unrecorded, waiting, found)


def _judge(block: StoredBlock, index: int, unrecorded: str, waiting: str, found: Walked) -> None:
    value = cast("dict[str, dict[str, str]]", transaction.parse(block.transactions[index]))
    subject = f"task {value['body']['task']!r:.200} (transaction {index} at height {block.height})"
    key = block.facts[index][1].hex()
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
