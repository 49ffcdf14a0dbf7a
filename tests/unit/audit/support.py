"""Small chains on disk, verified in this process, and altered entry by entry."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import lmdb

from scichain_wf import audit
from scichain_wf.audit import Result, trust
from scichain_wf.audit.chain import verify_on
from scichain_wf.audit.schema import result_schema
from scichain_wf.ledger import keys, rawread
from scichain_wf.ledger.isolate import Inline
from scichain_wf.ledger.layout import ChainLayout
from tests.builders import Candidate, ChainBuilder
from tests.chains import DiskChain


def verify_here(root: Path, trust_root: bytes | None = None, kept: str | None = None) -> Result:
    """`verify_chain` without child processes."""
    layout = ChainLayout(root)
    try:
        return verify_on(Inline(), layout, layout.live_ledger(), trust_root, trust.parse_kept_checkpoint(kept))
    finally:
        rawread.release()


def ids(result: Result) -> set[str]:
    """Ids of the findings that are more than information."""
    return {finding.id for finding in result.findings if finding.severity != "info"}


def put(root: Path, edits: Iterable[tuple[str, bytes, bytes | None]]) -> None:
    """Store entries behind the store's back; None deletes."""
    directory = ChainLayout(root).live_ledger()
    with lmdb.open(
        os.fsdecode(directory), map_size=1 << 28, max_dbs=16, lock=False, create=False, lib_version=0
    ) as env:
        handles = {name: env.open_db(name.encode(), create=False) for name in keys.DATABASES}
        with env.begin(write=True) as txn:
            for database, key, value in edits:
                if value is None:
                    assert txn.delete(key, db=handles[database])
                else:
                    txn.put(key, value, db=handles[database])


def get(root: Path, database: str, key: bytes) -> bytes:
    """One stored entry."""
    ledger = rawread.RawLedger(ChainLayout(root).live_ledger())
    try:
        value = ledger.get(database, key)
    finally:
        ledger.close()
    assert value is not None
    return value


def started(root: Path, slots: int = 3) -> DiskChain:
    """A chain whose members have joined, with a run begun, store open."""
    chain = DiskChain(root, ChainBuilder(slots=slots))
    chain.block(1, [chain.builder.run_start(path=str(root.parent), from_chain="..")])
    return chain


def appended(root: Path, *candidates: Candidate, chain: DiskChain) -> Result:
    """Append what no honest storage node would, sign it, and verify."""
    for candidate in candidates:
        chain.append(candidate)
    chain.checkpoint()
    chain.close()
    return verify_here(root)


def audited(chain: DiskChain, **options: Any) -> audit.Result:
    """Sign, close, audit; every result fits its published schema."""
    chain.checkpoint()
    chain.close()
    result = audit.audit(chain.root, **options)
    jsonschema.validate(result.to_json(), result_schema())
    return result


def found(result: audit.Result) -> dict[str, audit.Finding]:
    return {finding.id: finding for finding in result.findings}
