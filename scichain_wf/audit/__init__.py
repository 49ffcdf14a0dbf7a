"""Verification: is the record what was committed, and are the files what it says? Pure reading, no server, no keys.

What `verify_chain` does, in order:

1.  Opens the ledger read-only, in child processes: a file that kills its reader becomes a finding (SC-CHAIN-001).
2.  Every link is canonical, stands at its height and holds the hash of the link before it.
3.  Every block is well-formed and the one its link names; its header's root and count are those of its transactions.
4.  Every transaction is canonical, fits its kind's schema, names this chain, and is committed once (SAFE-6).
5.  Every block is signed by a key that the epoch in force at its append binds to a slot; its parent is a link of this
    chain; its puzzle is solved as the epoch asks.
6.  Every certificate is the one its link names: votes of enough distinct slots, each with its path and signature, or
    the storage node's own signature over block, reason and annotations (SAFE-4).
7.  Every epoch is signed by the storage node (the first by the authority), has the genesis' authority, and every
    statement in it is signed by whom it must be.
8.  Every input of an uncontested task is a source or a version recorded before; every contested one is not (SAFE-5).
9.  The tree over all links and every index equal what follows from the blocks: nothing missing, altered or surplus.
10. The checkpoint is signed by the storage key in force, over exactly these links; a checkpoint that the caller kept
    from earlier is a prefix of this chain (no rollback, fork or rewrite since).
11. The chain id is the pinned trust root, if the caller pinned one.

`verify_files` does the same and then holds every newest recorded output against the file on disk. `verify_artifact`
proves one file's record up to the checkpoint in O(log n), without the rest of the chain; `verify_run` checks the blocks
of one run likewise. `verify_receipt` needs no chain at all. `audit` does what `verify_files` does, adds what only whole
runs show, and tells what the records say.

What the caller must still do:

- Pin the trust root, and keep it where the chain's owner cannot write. Without it, a whole chain made anew passes.
- Keep checkpoints elsewhere, and pass the oldest one in doubt. Without one, a rewrite by who holds the authority's and
  the storage node's keys passes.
- Read `Result.exit_code`, not only that nothing was raised. INCOMPLETE is not a pass.
- Judge the claims: times, host and user names, and whether the science is right, are not verified by anybody.

It imports neither consensus nor node code: the verifier must not share the mistakes of what it verifies.
"""

from __future__ import annotations

from scichain_wf.audit.artifact import verify_artifact
from scichain_wf.audit.chain import verify_chain
from scichain_wf.audit.engine import audit
from scichain_wf.audit.files import verify_files
from scichain_wf.audit.receipt import make_receipt, verify_receipt
from scichain_wf.audit.result import FileResult, FileState, Finding, Head, Result, Verdict
from scichain_wf.audit.run import verify_run

__all__ = [
    "FileResult",
    "FileState",
    "Finding",
    "Head",
    "Result",
    "Verdict",
    "audit",
    "make_receipt",
    "verify_artifact",
    "verify_chain",
    "verify_files",
    "verify_receipt",
    "verify_run",
]
