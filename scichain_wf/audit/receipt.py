"""Receipts: a portable proof of one file's record, made from a chain and verified with the trust root alone (AUD-1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from scichain_wf.audit import trust
from scichain_wf.audit.artifact import find_record
from scichain_wf.audit.compare import compare, recorded_digest
from scichain_wf.audit.epochs import Signatures
from scichain_wf.audit.proof import check_proof, make_proof, marks_of
from scichain_wf.audit.result import FileResult, FileState, Result, findings_of
from scichain_wf.audit.roots import absolute
from scichain_wf.crypto import merkle
from scichain_wf.errors import LedgerError, UsageError, VerificationError
from scichain_wf.ledger.isolate import isolated
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.problem import Problem, Problems
from scichain_wf.ledger.rawread import shared
from scichain_wf.ledger.walk import outline
from scichain_wf.model import uri
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.link import Mark
from scichain_wf.model.receipt import ProvenTransaction, Receipt
from scichain_wf.model.text import digest_text

CHECKED = (
    "the receipt's chain id against the trust root",
    "the checkpoint: signed by the storage key that the genesis' authority delegated",
    "transaction in block, block in link, link under the checkpoint; each block signed by its maker",
    "the certificate under the epoch in force",
)


def make_receipt(
    chain_dir: str | Path, path: str | bytes | Path, *, roots: Mapping[str, str | bytes | Path] | None = None
) -> bytes:
    """The receipt of the newest record of a file, under the chain's checkpoint. The file itself is not looked at.

    Raises:
        UsageError: nothing is recorded of this file.
        LedgerError: not a chain, not readable, or without a checkpoint that covers the record.
    """
    layout = ChainLayout(Path(chain_dir))
    stated = trust.read_stated(layout)
    if stated.checkpoint is None:
        raise LedgerError(f"{layout.root} has no usable checkpoint, which a receipt rests on; verify the chain")
    return isolated(
        _make, layout.live_ledger(), str(layout.root.absolute()), absolute(path), dict(roots or {}), stated.checkpoint
    )


def verify_receipt(
    receipt: bytes, trust_root: str | Path | bytes | None, file: str | bytes | Path | None = None
) -> Result:
    """Verify a receipt, and a file against it. Needs no chain.

    Args:
        receipt: its bytes.
        trust_root: chain id, trust-root file or its text; None takes the receipt's word, which proves little.
        file: the file that the receipt is of.

    Raises:
        UsageError: the trust root is not what it must be.
        UnsupportedVersion: a receipt of a newer version.
        DecodeError: not a receipt.
    """
    pinned = trust.parse_trust_root(trust_root)
    decoded = Receipt.decode(receipt)
    problems = check_proof(decoded, pinned, Signatures())
    if pinned is None:
        problems.add(Problem("conf-no-trust-root", decoded.chain.hex()))
    for mark in marks_of(decoded.proof.link, decoded.proof.index):
        if mark in (Mark.CONTESTED, Mark.UNRESOLVED):
            problems.add(
                Problem(
                    f"trace-{mark}", "the receipt's task", height=decoded.proof.link.height, index=decoded.proof.index
                )
            )
    files = [] if file is None else [_check_file(absolute(file), decoded.proof, problems)]
    return Result(
        subject=" and ".join(["the receipt", *(f"{item.path} (as {item.uri or 'unhashed'})" for item in files)]),
        findings=findings_of(problems.kept),
        counts={f"files-{item.state}": 1 for item in files},
        chain=decoded.chain,
        trust=_trust(decoded, pinned),
        checked=(*CHECKED, *(["the file against the record"] if files else [])),
        unchecked=("whether the file was recorded anew later", *([] if files else ["the file"])),
        files=tuple(files),
    )


def _check_file(path: bytes, proof: ProvenTransaction, problems: Problems) -> FileResult:
    """Hold a file against the outputs that the receipt's task recorded; it may have another name by now."""
    shown = path.decode("utf-8", "backslashreplace")
    transaction = proof.parsed()
    body = transaction.body
    outputs = [o for o in cast("list[JsonObject]", body.get("outputs", [])) if recorded_digest(o) is not None]
    if not outputs:
        problems.add(Problem("file-unproved", shown))
        return FileResult("", FileState.UNHASHED, shown)
    compared = [(output, compare(path, output, body)) for output in _candidates(outputs, path)]
    output, comparison = next((pair for pair in compared if pair[1].state is FileState.MATCH), compared[0])
    if comparison.code:
        place = proof.link.height, proof.index, transaction.key.hex()
        problems.add(Problem(comparison.code, shown, comparison.expected, comparison.actual, *place))
    elif comparison.state is not FileState.MATCH:
        problems.add(Problem("file-missing", shown))
    return FileResult(
        uri=cast("str", output["uri"]),
        state=comparison.state,
        path=shown,
        recorded=recorded_digest(output),
        actual=comparison.digest,
        task=cast("str", body["task"]),
        run=transaction.run.hex(),
        key=transaction.key.hex(),
        transaction=merkle.leaf_hash(proof.transaction),
        height=proof.link.height,
        index=proof.index,
    )


def _candidates(outputs: list[JsonObject], path: bytes) -> list[JsonObject]:
    """The outputs that the file can be: those of its name; all of them only where it was renamed.

    Otherwise a file that was overwritten with its sibling's content would pass for the sibling.
    """
    name = path.rsplit(b"/", 1)[-1]
    named = [o for o in outputs if uri.parse(cast("str", o["uri"])).path.rsplit(b"/", 1)[-1] == name]
    return named or outputs


def _trust(receipt: Receipt, pinned: bytes | None) -> tuple[str, ...]:
    checkpoint = Checkpoint.parse(receipt.checkpoint)
    source = "pinned by the caller" if pinned else "taken from the receipt itself"
    return (
        f"The chain id {digest_text(receipt.chain)} was {source}.",
        f"Under the storage node's checkpoint of {checkpoint.size} links; nothing is said of what came later.",
        "The record is as made if fewer than a quorum of slots lied, or the storage node was honest.",
    )


def _make(
    directory: Path, chain_dir: str, path: bytes, roots: dict[str, str | bytes | Path], checkpoint: Checkpoint
) -> bytes:
    summary = outline(directory)
    ledger = shared(directory, summary.moment)
    item = find_record(ledger, chain_dir, path, roots)
    if item is None:
        raise UsageError(f"nothing is recorded of {path.decode('utf-8', 'backslashreplace')!r:.300} on this chain")
    try:
        return make_proof(ledger, summary, checkpoint, item.version.height, item.version.index).encode()
    except VerificationError as error:
        raise LedgerError(
            f"no receipt can be made yet: {error}; the storage node signs a newer checkpoint when it runs"
        ) from None
