"""Findings about the chain itself: SC-CHAIN. See `catalogue`."""

from __future__ import annotations

from typing import Final

from scichain_wf.audit.entry import Entry, Severity

_E, _U, _W, _I = Severity.ERROR, Severity.UNCHECKED, Severity.WARNING, Severity.INFO

_ALTERED = "Keep this copy as evidence and compare it with another one (a snapshot, a backup, another site's)."
_REBUILD = "Rebuild the indexes from the blocks: `scichain-wf ledger snapshot NEW` makes a copy; use that."
_FORGED = "Do not rely on this chain; ask who held its storage key, and compare with a checkpoint kept elsewhere."
_FILE = "Restore the file from where it was recorded, or run the task again."

CHAIN: Final[dict[str, Entry]] = {
    # --- the ledger's structure --------------------------------------------------------------------
    "unreadable": Entry(
        "SC-CHAIN-001",
        _E,
        "The ledger file cannot be read here",
        "Reading this part of the file fails or ends the reading process: the file was cut off or altered.",
        _ALTERED,
    ),
    "link-missing": Entry(
        "SC-CHAIN-002", _E, "A link is missing", "Heights must follow each other without a gap.", _ALTERED
    ),
    "link-form": Entry(
        "SC-CHAIN-003",
        _E,
        "A link is not a canonical record",
        "The bytes stored for a link are not what this program would have written.",
        _ALTERED,
    ),
    "link-height": Entry(
        "SC-CHAIN-004",
        _E,
        "A link is at another height than it says",
        "Links were moved, inserted or dropped.",
        _ALTERED,
    ),
    "link-previous": Entry(
        "SC-CHAIN-005",
        _E,
        "A link does not follow from the one before it",
        "The link before it was altered, exchanged or dropped.",
        _ALTERED,
    ),
    "block-missing": Entry(
        "SC-CHAIN-006", _E, "A block is missing", "The link is there, what it made final is not.", _ALTERED
    ),
    "block-form": Entry(
        "SC-CHAIN-007", _E, "A block is not well-formed", "Framing or header cannot be read.", _ALTERED
    ),
    "block-id": Entry(
        "SC-CHAIN-008",
        _E,
        "A block is not the one its link names",
        "The header was altered, or blocks were exchanged.",
        _ALTERED,
    ),
    "block-count": Entry(
        "SC-CHAIN-009",
        _E,
        "A block holds another number of transactions than it says",
        "Transactions were added or removed.",
        _ALTERED,
    ),
    "block-root": Entry(
        "SC-CHAIN-010",
        _E,
        "A block's transactions are not those that were signed",
        "A transaction of the block was altered, exchanged, added or removed.",
        _ALTERED,
    ),
    "transaction-form": Entry(
        "SC-CHAIN-011",
        _E,
        "A transaction is not a valid record",
        "Its bytes are not canonical or break the schema of its kind.",
        _ALTERED,
    ),
    "transaction-chain": Entry(
        "SC-CHAIN-012",
        _E,
        "A transaction belongs to another chain",
        "The chain id inside it is not this chain's.",
        _FORGED,
    ),
    "certificate-missing": Entry(
        "SC-CHAIN-013", _E, "A certificate is missing", "The link names a certificate that is not stored.", _ALTERED
    ),
    "certificate-surplus": Entry(
        "SC-CHAIN-014", _E, "A certificate where there must be none", "Epoch links have no certificate.", _ALTERED
    ),
    "certificate-digest": Entry(
        "SC-CHAIN-015",
        _E,
        "A certificate is not the one its link names",
        "The certificate was altered or exchanged.",
        _ALTERED,
    ),
    "tree-node": Entry(
        "SC-CHAIN-016", _E, "A node of the chain's tree is wrong", "A link or a tree node was altered.", _ALTERED
    ),
    "annotation-index": Entry("SC-CHAIN-017", _E, "A link annotates a transaction that is not there", "", _FORGED),
    "newer-version": Entry(
        "SC-CHAIN-018",
        _U,
        "A record is of a newer version",
        "This program cannot judge it.",
        "Install a newer scichain-wf and verify again.",
    ),
    "meta-chain": Entry(
        "SC-CHAIN-019",
        _E,
        "The ledger's chain id is not its genesis link's hash",
        "The id or the genesis was altered.",
        _ALTERED,
    ),
    "ledger-outline": Entry(
        "SC-CHAIN-020",
        _E,
        "The ledger cannot be read at all",
        "It is cut off, altered beyond its outline, or not a ledger.",
        _ALTERED,
    ),
    # --- indexes -----------------------------------------------------------------------------------
    "index-missing": Entry(
        "SC-CHAIN-030",
        _E,
        "An index entry is missing",
        "What the block states cannot be found through the index.",
        _REBUILD,
    ),
    "index-altered": Entry(
        "SC-CHAIN-031", _E, "An index entry is altered", "The index says something else than the block.", _REBUILD
    ),
    "index-surplus": Entry("SC-CHAIN-032", _E, "An index has an entry that no block accounts for", "", _REBUILD),
    "index-count": Entry(
        "SC-CHAIN-033", _E, "An index has another number of entries than the blocks account for", "", _REBUILD
    ),
    "index-order": Entry("SC-CHAIN-034", _E, "An index is not in order", "The file's pages were altered.", _REBUILD),
    # --- what the append must keep -----------------------------------------------------------------
    "transaction-repeated": Entry(
        "SC-CHAIN-040",
        _E,
        "A transaction is committed twice",
        "The second copy is not marked as duplicate (SAFE-6).",
        _FORGED,
    ),
    "duplicate-false": Entry(
        "SC-CHAIN-041",
        _E,
        "A transaction is marked as duplicate but is the first",
        "Its outputs would be hidden from the artifact index.",
        _FORGED,
    ),
    "clash-unmarked": Entry(
        "SC-CHAIN-042", _E, "Two transactions share a key, and the later is not marked", "", _FORGED
    ),
    "clash-false": Entry(
        "SC-CHAIN-043", _E, "A transaction is marked as a clash of keys, and there is none", "", _FORGED
    ),
    "proposal-repeated": Entry("SC-CHAIN-044", _E, "A proposer's sequence number is committed twice", "", _FORGED),
    "writer-order": Entry(
        "SC-CHAIN-045", _E, "Writer epochs go backwards", "A storage node that was replaced wrote again.", _FORGED
    ),
    # --- blocks and certificates -------------------------------------------------------------------
    "block-chain": Entry("SC-CHAIN-050", _E, "A block was made for another chain", "", _FORGED),
    "block-parent": Entry(
        "SC-CHAIN-051",
        _E,
        "A block's parent is not on this chain",
        "Its maker knew another history: this chain is a fork or was rewritten.",
        _FORGED,
    ),
    "block-epoch": Entry("SC-CHAIN-052", _E, "A block is of a later epoch than its link", "", _FORGED),
    "block-proposer": Entry(
        "SC-CHAIN-053",
        _E,
        "A block is not by a member of its epoch",
        "No slot of the epoch in force is bound to the proposer's key.",
        _FORGED,
    ),
    "block-signature": Entry("SC-CHAIN-054", _E, "A block's signature does not hold", "", _FORGED),
    "block-source": Entry(
        "SC-CHAIN-055",
        _E,
        "A block carries what its maker may not state",
        "Only the storage node states epochs, in blocks of their own.",
        _FORGED,
    ),
    "block-difficulty": Entry(
        "SC-CHAIN-056",
        _E,
        "A block has another difficulty than its epoch asks for",
        "Where the epoch's rule is adaptive, it follows from the times of the two anchor links before its parent.",
        _FORGED,
    ),
    "block-outdated": Entry(
        "SC-CHAIN-058",
        _E,
        "A block's parent is too old for its difficulty",
        "Where the epoch's rule is adaptive, a parent is at most two minutes older than the newest link.",
        _FORGED,
    ),
    "puzzle": Entry("SC-CHAIN-057", _E, "A block's puzzle is not solved", "", _FORGED),
    "certificate-form": Entry("SC-CHAIN-060", _E, "A certificate is not a valid record", "", _FORGED),
    "certificate-mode": Entry(
        "SC-CHAIN-061", _E, "A certificate is of another type, block or epoch than its link", "", _FORGED
    ),
    "quorum-short": Entry(
        "SC-CHAIN-062",
        _E,
        "Too few slots said VALID",
        "The certificate does not reach the quorum of the epoch in force (SAFE-4).",
        _FORGED,
    ),
    "vote": Entry(
        "SC-CHAIN-063",
        _E,
        "A vote does not hold",
        "Another chain or epoch, no such slot, a wrong path or signature.",
        _FORGED,
    ),
    "vote-head": Entry(
        "SC-CHAIN-064",
        _E,
        "A vote was given at a link that is not on this chain",
        "The validator knew another history: this chain is a fork or was rewritten.",
        _FORGED,
    ),
    "vote-cited": Entry(
        "SC-CHAIN-065",
        _W,
        "A verdict cited by the storage node does not hold",
        "The storage node decided by itself; what it cites is for information.",
        "Look at the slot that is said to have sent it.",
    ),
    "poet-signature": Entry("SC-CHAIN-066", _E, "A POET certificate is not signed by the storage node", "", _FORGED),
    "poet-annotations": Entry(
        "SC-CHAIN-067", _E, "A link's annotations are not those the storage node signed", "", _FORGED
    ),
    "poet-writer": Entry(
        "SC-CHAIN-068", _E, "A POET certificate names another writer epoch than its link", "", _FORGED
    ),
    "mode-conflict": Entry(
        "SC-CHAIN-069",
        _E,
        "A link in mode quorum annotates a conflict",
        "A contested transaction is appended in mode poet only.",
        _FORGED,
    ),
    # --- epochs ------------------------------------------------------------------------------------
    "epoch-order": Entry("SC-CHAIN-080", _E, "Epochs do not follow each other", "", _FORGED),
    "epoch-form": Entry("SC-CHAIN-081", _E, "An epoch link does not hold one epoch", "", _FORGED),
    "epoch-in-force": Entry("SC-CHAIN-082", _E, "A link names another epoch than the one in force", "", _FORGED),
    "epoch-signature": Entry(
        "SC-CHAIN-083", _E, "An epoch block is not signed by who may change membership", "", _FORGED
    ),
    "epoch-statement": Entry(
        "SC-CHAIN-084", _E, "A statement inside an epoch is not signed by whom it must be", "", _FORGED
    ),
    "epoch-authority": Entry("SC-CHAIN-085", _E, "An epoch has another authority than the genesis", "", _FORGED),
    "epoch-generation": Entry("SC-CHAIN-086", _E, "An epoch brings an older membership back", "", _FORGED),
    # --- trust -------------------------------------------------------------------------------------
    "trust-root": Entry(
        "SC-CHAIN-090",
        _E,
        "This is another chain than the one you trust",
        "Its id is not the trust root's.",
        "Check that you have the right chain, and the right trust root.",
    ),
    "trust-root-file": Entry("SC-CHAIN-091", _E, "The chain directory's trust root is another chain's", "", _ALTERED),
    "trust-root-absent": Entry(
        "SC-CHAIN-092",
        _W,
        "The chain directory has no trust root",
        "The copy is incomplete; the id was taken from the ledger.",
        "Copy the whole directory, or name the trust root yourself.",
    ),
    "checkpoint-absent": Entry(
        "SC-CHAIN-093",
        _U,
        "There is no checkpoint",
        "Nothing says that this is the whole chain: what the storage node last signed is missing.",
        "Copy the whole chain directory, or give a checkpoint that was kept elsewhere.",
    ),
    "checkpoint-form": Entry("SC-CHAIN-094", _E, "The checkpoint is not a signed note of this chain", "", _ALTERED),
    "checkpoint-signature": Entry("SC-CHAIN-095", _E, "The checkpoint is not signed by the storage node", "", _FORGED),
    "checkpoint-root": Entry(
        "SC-CHAIN-096",
        _E,
        "The chain is not the one the checkpoint was signed for",
        "A link that the checkpoint covers was altered, dropped or exchanged.",
        _FORGED,
    ),
    "checkpoint-ahead": Entry(
        "SC-CHAIN-097",
        _E,
        "Links are missing that the checkpoint covers",
        "The chain was rolled back or the copy is older than its checkpoint.",
        _ALTERED,
    ),
    "checkpoint-behind": Entry(
        "SC-CHAIN-098",
        _U,
        "The newest links are not signed yet",
        "The checkpoint is older than the chain.",
        "If a run is going on, verify again after it; else start the storage node once, which signs them.",
    ),
    "checkpoint-cosignature": Entry(
        "SC-CHAIN-099",
        _W,
        "A validator's cosignature of the checkpoint does not hold",
        "A line in a slot's name is not by the key that the slot had at the checkpoint's end.",
        "Ask that node's owner whether it signed; the storage node's signature is judged by itself.",
    ),
    "kept-foreign": Entry(
        "SC-CHAIN-100",
        _E,
        "The kept checkpoint is of another chain",
        "",
        "Check that you have the right chain, and the right checkpoint.",
    ),
    "kept-root": Entry(
        "SC-CHAIN-101",
        _E,
        "The chain is not the one the kept checkpoint was signed for",
        "It was rewritten or forked since.",
        _FORGED,
    ),
    "kept-ahead": Entry(
        "SC-CHAIN-102", _E, "The chain is shorter than the kept checkpoint", "It was rolled back.", _FORGED
    ),
    "kept-signature": Entry(
        "SC-CHAIN-103",
        _E,
        "The kept checkpoint is not signed by this chain's storage node",
        "",
        "Check where the kept checkpoint comes from.",
    ),
    "fork-accepted": Entry(
        "SC-CHAIN-104",
        _W,
        "The chain's owner gave up a checkpoint of it",
        "There was another history. Its owner went on from an older or another copy, and a note on the chain says so.",
        "Ask its author what was lost. Who agrees keeps a newer checkpoint in place of the one given up.",
    ),
    "receipt": Entry(
        "SC-CHAIN-110",
        _E,
        "The receipt does not hold",
        "A proof inside it does not lead where it must.",
        "Ask for the receipt again, and compare with the chain.",
    ),
    "proof": Entry(
        "SC-CHAIN-111",
        _E,
        "The record of this file is not proved by the chain",
        "A proof from the transaction to the checkpoint does not hold.",
        _ALTERED,
    ),
}
