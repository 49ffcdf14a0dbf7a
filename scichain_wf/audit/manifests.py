"""The ends of runs: whether the key that one names as its author's did sign it."""

from __future__ import annotations

from binascii import unhexlify
from typing import cast

from scichain_wf.errors import DecodeError, VerificationError
from scichain_wf.ledger.problem import Problem
from scichain_wf.ledger.stored import StoredBlock, Survey, Walked
from scichain_wf.model import manifest, transaction
from scichain_wf.model.canonical import JsonObject


def check_manifests(summary: Survey, block: StoredBlock, found: Walked) -> None:
    """Check the author's signature of every `run-end` in one block that has one."""
    for index, (_, key, _, kind, _, _) in enumerate(block.facts):
        if kind != b"run-end":
            continue
        value = transaction.parse(block.transactions[index])
        run = cast("str", value["run"])
        try:
            manifest.check(summary.chain, unhexlify(run), cast("JsonObject", value["body"]))
        except (DecodeError, VerificationError) as error:
            problem = Problem("run-signature", f"run {run}", "", str(error), block.height, index, key.hex())
            found.problems.add(problem)
