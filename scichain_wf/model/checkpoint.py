"""Checkpoints: the size and root of the chain's tree, as a C2SP signed note.

Formats: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature (v1). A checkpoint is plain text
anybody can keep; whoever holds one detects rollback, fork and rewrite of everything before it. The storage node
signs (type 0x01, Ed25519); validators that checked consistency cosign (type 0x04, Ed25519 with a time).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, replace
from typing import Final, Self

from scichain_wf import limits
from scichain_wf.crypto.hashing import sha256
from scichain_wf.crypto.signing import SigningKey, VerifyKey
from scichain_wf.errors import DecodeError, VerificationError

_ORIGIN = re.compile(r"scichain-wf/([0-9a-f]{64})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f-\x9f\ud800-\udfff]+")  # other witnesses' names: no space, no plus, no control
_SIGNATURE_TYPE: Final = b"\x01"
_COSIGNATURE_TYPE: Final = b"\x04"
_DASH: Final = "\u2014 "


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One line under a note: key name, 4-byte key id, and the signature's payload."""

    name: str
    key_id: bytes
    payload: bytes

    def line(self) -> str:
        """The text line, with its newline."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.payload).decode()}\n"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Chain id (32 bytes), number of links, root of their tree (32 bytes), and the signatures it carries."""

    chain: bytes
    size: int
    root: bytes
    signatures: tuple[NoteSignature, ...] = ()

    def __post_init__(self) -> None:
        if len(self.chain) != 32 or len(self.root) != 32 or not 0 <= self.size <= limits.INTEGER_MAX:
            raise DecodeError("checkpoint: chain id and root have 32 bytes, the size is below 2^53")
        if len(self.signatures) > limits.NOTE_SIGNATURES_MAX:
            raise DecodeError(f"checkpoint: more than {limits.NOTE_SIGNATURES_MAX} signatures")

    @property
    def origin(self) -> str:
        """First line: which chain."""
        return f"scichain-wf/{self.chain.hex()}"

    @property
    def storage_name(self) -> str:
        """Key name of the storage node."""
        return f"{self.origin}/storage"

    def slot_name(self, slot: int) -> str:
        """Key name of a validator."""
        return f"{self.origin}/slot-{slot}"

    def body(self) -> str:
        """The signed text: origin, size, root, each on its line."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def text(self) -> str:
        """The whole note."""
        return self.body() + "\n" + "".join(signature.line() for signature in self.signatures)

    def sign(self, key: SigningKey) -> Checkpoint:
        """This checkpoint with the storage node's signature as its only one."""
        name = self.storage_name
        payload = key.sign_raw(self.body().encode())
        return replace(self, signatures=(NoteSignature(name, _key_id(name, _SIGNATURE_TYPE, key.public), payload),))

    def cosign(self, key: SigningKey, slot: int, time_s: int) -> Checkpoint:
        """This checkpoint with a validator's cosignature, in place of an earlier one by the same key.

        Args:
            key: the validator's key.
            slot: its slot.
            time_s: POSIX time in seconds, part of what is signed.

        Raises:
            DecodeError: the note already has as many signatures as a reader takes.
        """
        payload = time_s.to_bytes(8, "big") + key.sign_raw(_cosigned(self.body(), time_s))
        new = cosignature(self, key.public, slot, payload)
        others = tuple(s for s in self.signatures if (s.name, s.key_id) != (new.name, new.key_id))
        return replace(self, signatures=(*others, new))

    def verify_storage(self, key: VerifyKey) -> None:
        """Check the storage node's signature.

        Raises:
            VerificationError: it is missing or does not hold under `key`.
        """
        name, body = self.storage_name, self.body().encode()
        key_id = _key_id(name, _SIGNATURE_TYPE, key)
        for signature in self.signatures:
            if signature.name == name and signature.key_id == key_id and key.is_valid_raw(signature.payload, body):
                return
        raise VerificationError(f"checkpoint of {self.size} links: not signed by the storage node's key")

    def verify_cosignature(self, key: VerifyKey, slot: int) -> int:
        """Check a validator's cosignature; returns its POSIX time in seconds.

        Raises:
            VerificationError: it is missing or does not hold under `key`.
        """
        name = self.slot_name(slot)
        key_id = _key_id(name, _COSIGNATURE_TYPE, key)
        for signature in self.signatures:
            if signature.name == name and signature.key_id == key_id and len(signature.payload) == 72:
                time_s = int.from_bytes(signature.payload[:8], "big")
                if key.is_valid_raw(signature.payload[8:], _cosigned(self.body(), time_s)):
                    return time_s
        raise VerificationError(f"checkpoint of {self.size} links: not cosigned by slot {slot}")

    @classmethod
    def parse(cls, text: str | bytes | memoryview) -> Self:
        """Parse a note. Unknown signatures are kept, as the format asks; nothing is verified here.

        Raises:
            DecodeError: not a signed note, not one of ours, or over a limit.
        """
        if len(text) > limits.NOTE_BYTES_MAX:
            raise DecodeError(f"checkpoint: longer than {limits.NOTE_BYTES_MAX} bytes")
        if not isinstance(text, str):
            try:
                text = bytes(text).decode("utf-8")
            except UnicodeDecodeError as error:
                raise DecodeError(f"checkpoint: not UTF-8: {error}") from None
        body, separator, tail = text.partition("\n\n")
        lines = body.split("\n")
        origin = _ORIGIN.fullmatch(lines[0])
        if not separator or len(lines) != 3 or not origin or not _SIZE.fullmatch(lines[1]):
            raise DecodeError("checkpoint: not a signed note with origin scichain-wf/<chain id>, size and root")
        checkpoint = cls(bytes.fromhex(origin[1]), int(lines[1]), _base64(lines[2], "root"), _signatures(tail))
        if checkpoint.text() != text:  # base64 has more than one spelling
            raise DecodeError("checkpoint: not in canonical spelling")
        return checkpoint


def cosignature(note: Checkpoint, key: VerifyKey, slot: int, payload: bytes) -> NoteSignature:
    """A validator's line of a note, from its key and the 72 bytes (time, signature) that it signed; not verified."""
    name = note.slot_name(slot)
    return NoteSignature(name, _key_id(name, _COSIGNATURE_TYPE, key), payload)


def _signatures(tail: str) -> tuple[NoteSignature, ...]:
    lines = tail.split("\n")
    if lines.pop() != "" or len(lines) > limits.NOTE_SIGNATURES_MAX:
        raise DecodeError(f"checkpoint: signatures must end with a newline and be at most {limits.NOTE_SIGNATURES_MAX}")
    signatures = []
    for line in lines:
        name, space, encoded = line.removeprefix(_DASH).partition(" ")
        if not line.startswith(_DASH) or not space or not _NAME.fullmatch(name):
            raise DecodeError("checkpoint: a signature line is not `— <name> <base64>`")
        raw = _base64(encoded, "signature")
        if len(raw) < 5:
            raise DecodeError("checkpoint: a signature is too short")
        signatures.append(NoteSignature(name, raw[:4], raw[4:]))
    return tuple(signatures)


def _base64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise DecodeError(f"checkpoint: {what} is not base64") from None


def _key_id(name: str, kind: bytes, key: VerifyKey) -> bytes:
    return sha256(name.encode() + b"\n" + kind + key.raw)[:4]


def _cosigned(body: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{body}".encode()
