"""What the caller brings, and what the chain directory says: trust root and checkpoints.

A trust root is a chain id: 32 bytes that pin the genesis and with it the authority. It is given as `sha256:<hex>`, as
the text of a trust-root file, or as the path of one. A kept checkpoint is the text of a signed note (or the path of
its file) that was kept where the chain's owner could not change it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scichain_wf import limits
from scichain_wf.crypto import merkle
from scichain_wf.crypto.signing import VerifyKey
from scichain_wf.errors import DecodeError, LedgerError, UsageError, VerificationError
from scichain_wf.filehash import read_regular
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.problem import Problem, Problems
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.text import digest_bytes

TRUST_ROOT_PREFIX: Final = "scichain-wf-trust-root-v1 "
_TRUST_ROOT_BYTES_MAX: Final = 4_096


def parse_trust_root(trust_root: str | Path | bytes | None) -> bytes | None:
    """A chain id from what a caller gives; None stays None.

    Raises:
        UsageError: it is neither a chain id, nor a trust-root file or its text.
    """
    if trust_root is None or (isinstance(trust_root, bytes) and len(trust_root) == 32):
        return trust_root
    text = trust_root.decode("ascii", "replace") if isinstance(trust_root, bytes) else str(trust_root)
    if not isinstance(trust_root, bytes) and not text.startswith(("sha256:", TRUST_ROOT_PREFIX)):
        try:
            text = read_regular(Path(trust_root), _TRUST_ROOT_BYTES_MAX).decode("ascii", "replace")
        except OSError as error:
            raise UsageError(
                f"{text!r:.200} is neither a chain id (sha256:...) nor a trust-root file: {error.strerror}"
            ) from None
    try:
        return digest_bytes(text.removeprefix(TRUST_ROOT_PREFIX).removesuffix("\n"))
    except DecodeError:
        raise UsageError(
            f"{text!r:.100} is no trust root; it is `sha256:` and 64 hex digits, or a trust-root file"
        ) from None


def parse_kept_checkpoint(checkpoint: str | Path | bytes | None) -> Checkpoint | None:
    """A kept checkpoint from what a caller gives; None stays None.

    Raises:
        UsageError: it is neither a signed note of a chain nor a file that holds one.
    """
    if checkpoint is None:
        return None
    text = checkpoint.decode("utf-8", "replace") if isinstance(checkpoint, bytes) else str(checkpoint)
    if isinstance(checkpoint, Path) or "\n" not in text:
        try:
            text = read_regular(Path(text), limits.NOTE_BYTES_MAX).decode("utf-8", "replace")
        except OSError as error:
            raise UsageError(
                f"{text!r:.200} is neither a checkpoint nor a file that holds one: {error.strerror}"
            ) from None
    try:
        return Checkpoint.parse(text)
    except DecodeError as error:
        raise UsageError(f"the kept checkpoint cannot be used: {error}") from None


@dataclass(frozen=True, slots=True)
class Stated:
    """What lies beside the ledger: trust root and checkpoint, None where absent; `problems` where they are broken."""

    trust_root: bytes | None
    checkpoint: Checkpoint | None
    problems: tuple[Problem, ...]


def read_stated(layout: ChainLayout) -> Stated:
    """Read a chain directory's own trust root and checkpoint.

    Raises:
        LedgerError: a file is there and cannot be read.
    """
    problems = []
    trust_root = checkpoint = None
    data = _read_beside(layout.trust_root, _TRUST_ROOT_BYTES_MAX)
    if data is None:
        problems.append(Problem("trust-root-absent", str(layout.trust_root)))
    else:
        try:
            text = data.decode("ascii")
            if not (text.startswith(TRUST_ROOT_PREFIX) and text.endswith("\n")):
                raise DecodeError("not a trust-root file")
            trust_root = digest_bytes(text[len(TRUST_ROOT_PREFIX) : -1])
        except (UnicodeDecodeError, DecodeError) as error:
            problems.append(Problem("trust-root-file", str(layout.trust_root), "", str(error)))
    data = _read_beside(layout.checkpoint, limits.NOTE_BYTES_MAX)
    if data is None:
        problems.append(Problem("checkpoint-absent", str(layout.checkpoint)))
    else:
        try:
            checkpoint = Checkpoint.parse(data)
        except DecodeError as error:
            problems.append(Problem("checkpoint-form", str(layout.checkpoint), "", str(error)))
    return Stated(trust_root, checkpoint, tuple(problems))


def check_ids(chain: bytes, pinned: bytes | None, stated: Stated, problems: Problems) -> None:
    """The chain is the pinned one, and what lies beside it is of the same chain."""
    for problem in stated.problems:
        problems.add(problem)
    if pinned is None:
        problems.add(Problem("conf-no-trust-root", chain.hex()))
    elif pinned != chain:
        problems.add(Problem("trust-root", "the chain", pinned.hex(), chain.hex()))
    if stated.trust_root is not None and stated.trust_root != chain:
        problems.add(Problem("trust-root-file", "trust-root", chain.hex(), stated.trust_root.hex()))


def check_checkpoint(
    chain: bytes, size: int, checkpoint: Checkpoint, root: bytes | None, key: VerifyKey | None, problems: Problems
) -> None:
    """The chain directory's own checkpoint: of this chain, signed, over these links, and all of them.

    Args:
        chain: chain id.
        size: links on the chain.
        checkpoint: to check.
        root: of the first `checkpoint.size` links; None if there are not so many.
        key: storage key in force there; None likewise.
        problems: gains what does not hold.
    """
    where = f"checkpoint of {checkpoint.size} links"
    if checkpoint.chain != chain or checkpoint.size == 0:
        problems.add(Problem("checkpoint-form", where, chain.hex(), checkpoint.chain.hex()))
        return
    if checkpoint.size > size or root is None or key is None:
        problems.add(Problem("checkpoint-ahead", where, f"{checkpoint.size} links", str(size)))
        return
    if root != checkpoint.root:
        problems.add(Problem("checkpoint-root", where, checkpoint.root.hex(), root.hex()))
    try:
        checkpoint.verify_storage(key)
    except VerificationError as error:
        problems.add(Problem("checkpoint-signature", where, f"a signature by {key.raw.hex()}", str(error)))
    if checkpoint.size < size:
        problems.add(
            Problem(
                "checkpoint-behind",
                f"links {checkpoint.size} to {size - 1}",
                f"{size} links",
                str(checkpoint.size),
                checkpoint.size,
            )
        )


def check_kept(
    chain: bytes, size: int, kept: Checkpoint, root: bytes | None, key: VerifyKey | None, problems: Problems
) -> None:
    """An earlier checkpoint that somebody kept: this chain must extend what it was signed for."""
    where = f"kept checkpoint of {kept.size} links"
    if kept.chain != chain:
        problems.add(Problem("kept-foreign", where, kept.chain.hex(), chain.hex()))
    elif kept.size > size or root is None or key is None:
        problems.add(Problem("kept-ahead", where, f"at least {kept.size} links", str(size)))
    elif root != kept.root:
        problems.add(Problem("kept-root", where, kept.root.hex(), root.hex()))
    else:
        try:
            kept.verify_storage(key)
        except VerificationError as error:
            problems.add(Problem("kept-signature", where, "", str(error)))


def cosigners(note: Checkpoint, members: Mapping[int, bytes]) -> tuple[int, ...]:
    """Slots whose keys, `members`, signed a checkpoint besides the storage node."""
    return tuple(sorted(slot for slot in members if _is_cosigned(note, members, slot)))


def check_cosignatures(
    note: Checkpoint, root: bytes | None, members: Mapping[int, bytes] | None, problems: Problems
) -> None:
    """Lines in a slot's name must hold under the slot's key; of other witnesses nothing is known here."""
    if members is None or note.root != root:
        return  # a checkpoint of another history is a finding already, and who filled its slots is not known
    names = {note.slot_name(slot): slot for slot in members}
    for name in sorted({signature.name for signature in note.signatures} & names.keys()):
        if not _is_cosigned(note, members, names[name]):
            problems.add(Problem("checkpoint-cosignature", f"checkpoint of {note.size} links", "", name))


def _is_cosigned(note: Checkpoint, members: Mapping[int, bytes], slot: int) -> bool:
    try:
        note.verify_cosignature(VerifyKey.from_bytes(members[slot]), slot)
    except VerificationError:
        return False
    return True


def check_consistent(checkpoint: Checkpoint, kept: Checkpoint, path: Sequence[bytes], problems: Problems) -> None:
    """One of the two trees begins the other, by their signed roots alone.

    Who does not recompute the stored tree needs that: its nodes can be altered so that each root by itself is right.
    """
    old, new = sorted((checkpoint, kept), key=lambda note: note.size)
    try:
        merkle.verify_consistency(old.size, old.root, new.size, new.root, path)
    except VerificationError as error:
        problems.add(Problem("kept-root", f"kept checkpoint of {kept.size} links", kept.root.hex(), str(error)))


def _read_beside(path: Path, size_bytes_max: int) -> bytes | None:
    try:
        return read_regular(path, size_bytes_max)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error.strerror}; check that it is readable to you") from None
