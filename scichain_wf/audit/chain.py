"""Verification of a whole chain: the walk over every height with the auditor's eyes, then what ties it together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scichain_wf.audit import blocks, trust
from scichain_wf.audit.epochs import EpochBook
from scichain_wf.audit.result import Head, Result, dropped_of, findings_of
from scichain_wf.crypto import merkle
from scichain_wf.crypto.signing import VerifyKey
from scichain_wf.errors import LedgerCorrupt
from scichain_wf.ledger.fsck import Progress, check
from scichain_wf.ledger.isolate import Pool, Runner, result
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.problem import Problem, Problems
from scichain_wf.ledger.rawread import shared
from scichain_wf.ledger.stored import Survey, Walked
from scichain_wf.ledger.walk import survey
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.text import digest_text

CHECKED = (
    "every link: canonical, at its height, holding the hash of the link before it",
    "every block: well-formed, the one its link names, its transactions those that were signed",
    "every transaction: canonical, of its schema, of this chain, committed once",
    "every block's signature under a key that the epoch in force binds to a slot, its parent and its puzzle",
    "every certificate: a quorum of distinct slots of the epoch in force, or the storage node's own verdict",
    "every epoch: signed by the genesis' authority, or by whom the authority certified",
    "every input of an uncontested task: a source, or a version that a task recorded before",
    "the tree over all links, and every index entry against the blocks: none missing, altered or surplus",
    "the checkpoint: signed by the storage node, over exactly these links",
)
"""The steps of `verify_chain`, in words for a report."""


@dataclass(frozen=True, slots=True)
class ChainFacts:
    """What the last steps need from the ledger. By size: root of the tree, storage key in force."""

    head: bytes
    root: bytes
    roots: dict[int, bytes]
    consistency: tuple[bytes, ...]
    """Proof that the tree of the smaller of two sizes begins that of the larger."""
    storage_keys: dict[int, bytes]
    members: dict[int, dict[int, bytes]]
    """By size, the keys of the slots in force there."""
    authority: bytes
    slots: int
    quorum: int
    hosts: tuple[str, ...]


def verify_chain(
    chain_dir: str | Path,
    *,
    trust_root: str | Path | bytes | None = None,
    checkpoint: str | Path | bytes | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Verify a whole chain; see the package's description for the steps.

    Args:
        chain_dir: the chain directory; it is only read.
        trust_root: chain id, trust-root file or its text; None takes the chain's word for it, and says so.
        checkpoint: an earlier checkpoint that was kept elsewhere (text or file).
        jobs: child processes; default: one per core.
        progress: told about (links done, links in all).

    Raises:
        UsageError: trust root or checkpoint are not what they must be.
        LedgerError: not a chain, not readable, or being written.
        UnsupportedVersion: a chain of a newer format.
    """
    layout = ChainLayout(Path(chain_dir))
    pinned, kept = trust.parse_trust_root(trust_root), trust.parse_kept_checkpoint(checkpoint)
    directory = layout.live_ledger()
    with Pool(jobs) as pool:
        return verify_on(pool, layout, directory, pinned, kept, progress)


def verify_on(
    runner: Runner,
    layout: ChainLayout,
    directory: Path,
    pinned: bytes | None,
    kept: Checkpoint | None,
    progress: Progress | None = None,
) -> Result:
    """`verify_chain` with everything parsed and a place to run."""
    return verify_surveyed(runner, layout, directory, pinned, kept, progress)[0]


def verify_surveyed(
    runner: Runner,
    layout: ChainLayout,
    directory: Path,
    pinned: bytes | None,
    kept: Checkpoint | None,
    progress: Progress | None = None,
) -> tuple[Result, Survey | None]:
    """`verify_on`, and which file at which moment it is the result of: what is read next must be that."""
    stated = trust.read_stated(layout)
    try:
        summary = result(runner, survey, directory)
    except LedgerCorrupt as error:
        outline = Problem("ledger-outline", str(directory), "", str(error))
        return Result(f"the chain in {layout.root}", findings_of([*stated.problems, outline])), None
    found = check(runner, summary, blocks.visit, progress=progress)
    problems = found.problems
    trust.check_ids(summary.chain, pinned, stated, problems)
    facts = gather(runner, summary, [c for c in (stated.checkpoint, kept) if c is not None], problems)
    if facts is not None:
        check_signed(summary, stated.checkpoint, kept, facts, problems)
    return conclude(f"the chain in {layout.root}", summary, found, stated, facts, pinned), summary


def check_signed(
    summary: Survey, checkpoint: Checkpoint | None, kept: Checkpoint | None, facts: ChainFacts, problems: Problems
) -> None:
    """Own checkpoint and kept checkpoint against the tree."""
    for note, checks in ((checkpoint, trust.check_checkpoint), (kept, trust.check_kept)):
        if note is not None:
            raw = facts.storage_keys.get(note.size)
            key = None if raw is None else VerifyKey.from_bytes(raw)
            checks(summary.chain, summary.size, note, facts.roots.get(note.size), key, problems)
            trust.check_cosignatures(note, facts.roots.get(note.size), facts.members.get(note.size), problems)
    if (
        checkpoint is not None
        and kept is not None
        and checkpoint.chain == kept.chain == summary.chain
        and {checkpoint.size, kept.size} <= facts.roots.keys()
    ):
        trust.check_consistent(checkpoint, kept, facts.consistency, problems)
    if facts.slots == 1:
        problems.add(Problem("conf-one-slot", "slot 1"))
    elif len(facts.hosts) == 1:
        problems.add(Problem("conf-one-host", facts.hosts[0]))


def gather(runner: Runner, summary: Survey, notes: Sequence[Checkpoint], problems: Problems) -> ChainFacts | None:
    """`read_facts` in a child; what goes wrong there is a problem."""
    try:
        return result(runner, read_facts, summary, tuple(note.size for note in notes))
    except LedgerCorrupt as error:
        problems.add(Problem("unreadable", "the newest link, tree or epoch", "", str(error)))
        return None


def read_facts(summary: Survey, sizes: tuple[int, ...]) -> ChainFacts:
    """Read what the last steps need. To be run isolated.

    Raises:
        LedgerCorrupt: an epoch cannot be read.
    """
    ledger = shared(summary.directory, summary.moment)
    book = EpochBook.of(ledger, summary)
    newest = book.at(summary.size - 1)
    known = [size for size in sizes if 0 < size <= summary.size]
    return ChainFacts(
        head=ledger.link_hash(summary.size - 1) or bytes(32),
        root=ledger.root(summary.size),
        roots={size: ledger.root(size) for size in known},
        consistency=tuple(merkle.consistency_path_from(ledger.node, min(known), max(known)) if known else ()),
        storage_keys={size: book.at(size - 1).epoch.storage.raw for size in known},
        members={size: {slot: key.raw for slot, key in book.at(size - 1).keys.items()} for size in known},
        authority=book.authority().raw,
        slots=newest.epoch.slots,
        quorum=newest.quorum,
        hosts=tuple(sorted({member.host for member in newest.epoch.members if member.host})),
    )


def head_of(summary: Survey, facts: ChainFacts, checkpoint: Checkpoint | None) -> Head:
    """The chain's head, and how far and by whom its checkpoint is signed."""
    size = None if checkpoint is None else checkpoint.size
    cosigned = () if checkpoint is None else trust.cosigners(checkpoint, facts.members.get(checkpoint.size, {}))
    return Head(summary.size, facts.head, facts.root, size, cosigned)


def conclude(
    subject: str, summary: Survey, found: Walked, stated: trust.Stated, facts: ChainFacts | None, pinned: bytes | None
) -> Result:
    """The result of a chain's verification."""
    kept = found.problems.kept
    counts = {name: number for name, number in found.counts.items() if number}
    head = None
    if facts is not None:
        head = head_of(summary, facts, stated.checkpoint)
    return Result(
        subject=subject,
        findings=findings_of(kept),
        counts=counts,
        chain=summary.chain,
        head=head,
        trust=trust_statement(summary.chain, facts, pinned),
        checked=CHECKED,
        unchecked=("the files on disk", "whether times, hosts and users are as the records claim"),
        dropped=dropped_of(found.problems.counts, kept),
    )


def trust_statement(chain: bytes, facts: ChainFacts | None, pinned: bytes | None) -> tuple[str, ...]:
    """Who must have been honest for the verdict to mean what it says."""
    lines = []
    if pinned is None:
        lines.append(f"No trust root was pinned: this is a chain that calls itself {digest_text(chain)}.")
    else:
        lines.append(f"The chain id {digest_text(pinned)} was pinned by the caller.")
    if facts is not None:
        lines.append(
            f"Authority key ed25519:{facts.authority.hex()[:16]}… states who may judge; "
            f"{facts.quorum} of {facts.slots} slots are a quorum."
        )
        if len(facts.hosts) == 1 or facts.slots == 1:
            lines.append(
                "Self-recorded: one principal held every key. This shows that nothing was changed since, and no more "
                "until a checkpoint has left the machine."
            )
        else:
            lines.append("Records are as made if fewer than a quorum of slots lied, or the storage node was honest.")
    lines.append("A rewrite by who holds authority and storage keys shows only against a checkpoint kept elsewhere.")
    return tuple(lines)
