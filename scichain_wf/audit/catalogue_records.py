"""Findings about what the records say: SC-TRACE, SC-RUN, SC-NODE, SC-FILE, SC-CONF. See `catalogue`."""

from __future__ import annotations

from typing import Final

from scichain_wf.audit.entry import Entry, Severity

_E, _U, _W, _I = Severity.ERROR, Severity.UNCHECKED, Severity.WARNING, Severity.INFO

_ALTERED = "Keep this copy as evidence and compare it with another one (a snapshot, a backup, another site's)."
_REBUILD = "Rebuild the indexes from the blocks: `scichain-wf ledger snapshot NEW` makes a copy; use that."
_FORGED = "Do not rely on this chain; ask who held its storage key, and compare with a checkpoint kept elsewhere."
_FILE = "Restore the file from where it was recorded, or run the task again."

RECORDS: Final[dict[str, Entry]] = {
    # --- traceability ------------------------------------------------------------------------------
    "trace-contested": Entry(
        "SC-TRACE-001",
        _W,
        "A task read something that nobody recorded",
        "An input has a digest that no recorded version has: it was changed between its producer and its consumer.",
        "Find out who changed the input; what follows from this task is tainted.",
    ),
    "trace-unmarked": Entry(
        "SC-TRACE-002",
        _E,
        "An input was never recorded with this content, and the task is not contested",
        "The append must have noticed (SAFE-5).",
        _FORGED,
    ),
    "trace-false": Entry("SC-TRACE-003", _E, "A task is marked as contested, and its inputs are recorded", "", _FORGED),
    "trace-unresolved": Entry(
        "SC-TRACE-004",
        _W,
        "A task's input was not recorded in time",
        "Its producer's record had not arrived when the task's was committed; taints what follows.",
        "Look for records that were never delivered (the spool, a node that died).",
    ),
    "trace-unresolved-unmarked": Entry(
        "SC-TRACE-005",
        _W,
        "An unresolved input is not marked as such",
        "",
        "None: a note on the storage node's own bookkeeping.",
    ),
    "trace-two-producers": Entry(
        "SC-TRACE-006",
        _W,
        "Two tasks of one run say they made the same file, with different contents",
        "Which of the two a reader of it got depends on the moment; or somebody stated a record for a changed file.",
        "Have one task write each file; look at who recorded the later one.",
    ),
    # --- runs --------------------------------------------------------------------------------------
    "run-unknown": Entry(
        "SC-RUN-001", _U, "There is no such run on this chain", "", "List the runs, and check the run's id."
    ),
    "run-no-start": Entry(
        "SC-RUN-002",
        _W,
        "A run has no beginning",
        "Its `run-start` was never recorded.",
        "Look for records that were never delivered.",
    ),
    "run-no-end": Entry(
        "SC-RUN-003",
        _W,
        "A run has no end",
        "It is still going on, or it was killed; tasks may be missing.",
        "If it was killed, run it again; recorded tasks stay valid.",
    ),
    "run-tally": Entry(
        "SC-RUN-004",
        _W,
        "Fewer or more records than the run says it made",
        "The manifest in `run-end` disagrees with what is on the chain.",
        "Look for records that were never delivered.",
    ),
    "run-late": Entry(
        "SC-RUN-005", _W, "Records came after the run had ended", "", "Look at who delivered them, and why so late."
    ),
    "run-lost": Entry(
        "SC-RUN-006",
        _W,
        "Tasks began and have no record of how they ended",
        "They were killed, are still running, or their records were not delivered.",
        "Look for the records (the spool, a node that died), or run those tasks again.",
    ),
    "run-engine-tally": Entry(
        "SC-RUN-007",
        _W,
        "The engine finished more tasks than were recorded",
        "The engine's own count at the end of the run is higher than that of the records of finished tasks.",
        "Look for records that were never delivered.",
    ),
    "run-unattested": Entry(
        "SC-RUN-008",
        _I,
        "Tasks ran on another host than the one that vouched for them",
        "The block was made on the host shown as found; what the records say of the other host is taken on trust.",
        "Nothing, if that host has no agent on purpose; else start one there.",
    ),
    "run-signature": Entry(
        "SC-RUN-009",
        _E,
        "The end of a run is not signed by the author's key it names",
        "Somebody stated another's key, or changed what was signed before it was recorded.",
        "Ask the owner of the key; do not take the run for the author's.",
    ),
    # --- nodes -------------------------------------------------------------------------------------
    "node-equivocation": Entry(
        "SC-NODE-001",
        _W,
        "A node signed two statements that contradict each other",
        "The evidence on the chain holds: one key signed both. An honest node does neither.",
        "Find out who held that node's key; do not rely on what only that node vouched for.",
    ),
    "node-dissent": Entry(
        "SC-NODE-002",
        _I,
        "A node called blocks INVALID in which nothing is contested",
        "Its view was behind the chain's at that moment, or it does not say the truth.",
        "If it is many blocks, look at that node.",
    ),
    "node-poet-share": Entry(
        "SC-NODE-003",
        _I,
        "The storage node judged most blocks alone",
        "No quorum was reached in time (POET): for those blocks it is the storage node that must have been honest.",
        "Look at which nodes were slow or down; more nodes on time make quorums.",
    ),
    "node-evidence-false": Entry(
        "SC-NODE-004",
        _W,
        "Evidence against a node does not hold",
        "Somebody recorded an accusation that its own statements do not prove.",
        "Look at who vouched for the accusation.",
    ),
    # --- files -------------------------------------------------------------------------------------
    "file-changed": Entry(
        "SC-FILE-001",
        _E,
        "A file is not what the workflow made",
        "Its content has another digest than the newest record of it.",
        _FILE,
    ),
    "file-missing": Entry("SC-FILE-002", _E, "A file is gone", "It is recorded as an output and is not there.", _FILE),
    "file-replaced": Entry(
        "SC-FILE-003",
        _W,
        "A file was replaced by a symbolic link",
        "The content is as recorded; where it lies is not.",
        "Look at where the link leads.",
    ),
    "file-kind": Entry(
        "SC-FILE-004",
        _E,
        "A file became something else",
        "A directory, pipe or device is where a file was recorded, or the reverse.",
        _FILE,
    ),
    "file-unreadable": Entry("SC-FILE-005", _U, "A file cannot be read", "", "Verify as somebody who may read it."),
    "file-elsewhere": Entry(
        "SC-FILE-006",
        _U,
        "Files cannot be seen from here",
        "They are recorded on another host, in a remote store, or in a directory that is not here.",
        "Verify on that host, or say where the workflow's directory is.",
    ),
    "file-unhashed": Entry(
        "SC-FILE-007",
        _I,
        "A file's content was not recorded",
        "By policy or size nobody hashed it.",
        "Nothing; a stricter hashing policy records it next time.",
    ),
    "file-unknown": Entry(
        "SC-FILE-008",
        _U,
        "Nothing is recorded of this file",
        "No task on this chain says that it made it.",
        "Check the path, and whether its workflow recorded to this chain.",
    ),
    "file-unstable": Entry(
        "SC-FILE-009", _U, "A file changed while it was read", "", "Verify again when nothing writes to it."
    ),
    "file-present": Entry("SC-FILE-010", _W, "A file is there that was recorded as absent", "", "Look at who made it."),
    "root-moved": Entry(
        "SC-FILE-011",
        _U,
        "Runs place one workflow directory at different paths",
        "Which of them holds the recorded files cannot be told: a later run may have pointed away from changed files.",
        "Verify each file by its own path, or verify a copy of the chain beside the directory you mean.",
    ),
    "file-unproved": Entry(
        "SC-FILE-013",
        _U,
        "Of this file's content nothing is recorded",
        "Its record, or the receipt, states no digest: by policy or size nobody hashed it, or it is of something else.",
        "Take another proof of this file; a stricter hashing policy records its content next time.",
    ),
    "file-hidden": Entry(
        "SC-FILE-012",
        _U,
        "A newer record without content hides an older one with it",
        "The file has another digest than the newest record that states one; a later record states none.",
        "Ask the maker of the later record for the content; run that task again with hashing on.",
    ),
    # --- weak settings -----------------------------------------------------------------------------
    "conf-no-trust-root": Entry(
        "SC-CONF-001",
        _I,
        "No trust root was pinned",
        "The chain was checked against the id it states itself: a whole chain made anew would pass.",
        "Keep the trust root where the chain's owner cannot write, and pass it.",
    ),
    "conf-one-host": Entry(
        "SC-CONF-002",
        _I,
        "All validators ran on one host",
        "Self-recorded: whoever controlled that host controlled every vote.",
        "Keep a checkpoint outside, or record from several hosts.",
    ),
    "conf-one-slot": Entry("SC-CONF-003", _I, "One validator is the whole quorum", "", "Record with at least three."),
    "conf-size-mtime": Entry(
        "SC-CONF-004",
        _I,
        "Outputs were recorded by size and time only",
        "The hashing policy `size-mtime` reads no content: a change that keeps the size is not found.",
        "Set `hash = \"cached\"` or `\"always\"` for the next run.",
    ),
    "conf-no-author": Entry(
        "SC-CONF-005",
        _I,
        "Runs are not signed by an author's key",
        "Who started them is a claim of the host they ran on.",
        "Nothing; keep a checkpoint outside to show when the runs existed.",
    ),
}
