"""Checkpoints are C2SP signed notes: held against the specification, recomputed here without the package's help.

c2sp.org/signed-note: a line is `— <name> base64(key id ‖ signature)`, the key id is the first four bytes of
SHA-256(name ‖ 0x0A ‖ signature type ‖ public key). c2sp.org/tlog-cosignature: type 0x04, the payload is a 64-bit time
and an Ed25519 signature over `cosignature/v1\ntime <n>\n` and the note's text.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf import limits
from scichain_wf.errors import DecodeError, VerificationError
from scichain_wf.model.checkpoint import Checkpoint, NoteSignature
from tests.builders import signing_key

CHAIN = bytes(range(32))
ROOT = bytes(range(32, 64))
STORAGE, SLOT = signing_key(1, "storage"), signing_key(1, "slot")
NOTE = Checkpoint(CHAIN, 17, ROOT).sign(STORAGE).cosign(SLOT, 4, 1_750_000_000)


def test_the_note_equals_one_made_by_hand() -> None:
    origin = f"scichain-wf/{CHAIN.hex()}"
    text = f"{origin}\n17\n{base64.b64encode(ROOT).decode()}\n"

    def line(name: str, kind: int, seed: bytes, message: str, before: bytes) -> str:
        private = Ed25519PrivateKey.from_private_bytes(seed)
        public = private.public_key().public_bytes_raw()
        key_id = hashlib.sha256(name.encode() + b"\x0a" + bytes([kind]) + public).digest()[:4]
        return f"\u2014 {name} {base64.b64encode(key_id + before + private.sign(message.encode())).decode()}\n"

    storage = line(f"{origin}/storage", 1, STORAGE.seed, text, b"")
    stamped = f"cosignature/v1\ntime 1750000000\n{text}"
    cosigned = line(f"{origin}/slot-4", 4, SLOT.seed, stamped, struct.pack(">Q", 1_750_000_000))
    assert NOTE.text() == text + "\n" + storage + cosigned


def test_a_note_comes_back_and_verifies() -> None:
    for spelling in (NOTE.text(), NOTE.text().encode(), memoryview(NOTE.text().encode())):
        note = Checkpoint.parse(spelling)
        assert note == NOTE
        note.verify_storage(STORAGE.public)
        assert note.verify_cosignature(SLOT.public, 4) == 1_750_000_000


@given(st.integers(0, limits.INTEGER_MAX), st.binary(min_size=32, max_size=32), st.integers(0, 2**64 - 1))
def test_any_checkpoint_comes_back(size: int, root: bytes, time_s: int) -> None:
    note = Checkpoint(root, size, root).cosign(SLOT, 1, time_s)
    assert Checkpoint.parse(note.text()) == note
    assert note.verify_cosignature(SLOT.public, 1) == time_s


def test_signatures_hold_under_their_own_key_name_and_kind_only() -> None:
    with pytest.raises(VerificationError):
        NOTE.verify_storage(SLOT.public)
    with pytest.raises(VerificationError):
        NOTE.verify_cosignature(STORAGE.public, 4)
    with pytest.raises(VerificationError):
        NOTE.verify_cosignature(SLOT.public, 5)
    with pytest.raises(VerificationError):
        Checkpoint(CHAIN, 17, ROOT).verify_storage(STORAGE.public)


@pytest.mark.parametrize("change", [{"chain": ROOT}, {"size": 18}, {"root": CHAIN}])
def test_signatures_cover_chain_size_and_root(change: dict[str, Any]) -> None:
    changed = replace(NOTE, **change)
    with pytest.raises(VerificationError):
        changed.verify_storage(STORAGE.public)
    with pytest.raises(VerificationError):
        changed.verify_cosignature(SLOT.public, 4)


@pytest.mark.parametrize("at", [0, 4, 7, 8, 40, 71])
def test_every_part_of_a_cosignature_counts(at: int) -> None:
    line = NOTE.signatures[1]
    payload = bytearray(line.payload)
    payload[at % len(payload)] ^= 1
    wrong = replace(NOTE, signatures=(replace(line, payload=bytes(payload)),))
    with pytest.raises(VerificationError):
        wrong.verify_cosignature(SLOT.public, 4)


@pytest.mark.parametrize("payload", [b"\0", bytes(63), bytes(65), bytes(71), bytes(73)])
def test_payloads_of_another_length_do_not_verify(payload: bytes) -> None:
    storage, slot = NOTE.signatures
    wrong = replace(NOTE, signatures=(replace(storage, payload=payload), replace(slot, payload=payload)))
    with pytest.raises(VerificationError):
        wrong.verify_storage(STORAGE.public)
    with pytest.raises(VerificationError):
        wrong.verify_cosignature(SLOT.public, 4)


def test_a_bad_line_before_a_good_one_does_not_hide_it() -> None:
    storage, slot = NOTE.signatures
    both = (replace(storage, payload=bytes(64)), storage, replace(slot, payload=bytes(72)), slot)
    note = Checkpoint.parse(replace(NOTE, signatures=both).text())
    note.verify_storage(STORAGE.public)
    note.verify_cosignature(SLOT.public, 4)


def test_a_second_cosignature_of_one_key_takes_the_place_of_the_first() -> None:
    again = NOTE.cosign(SLOT, 4, 1_750_000_001)
    assert len(again.signatures) == 2
    assert again.verify_cosignature(SLOT.public, 4) == 1_750_000_001


def test_signatures_of_unknown_witnesses_are_kept() -> None:
    for name in ("witness.example.org/w1", "witness:8080", "zeuge-ü"):
        note = replace(NOTE, signatures=(*NOTE.signatures, NoteSignature(name, b"abcd", b"whatever")))
        assert Checkpoint.parse(note.text()) == note
        note.verify_storage(STORAGE.public)


def test_a_note_takes_a_bounded_number_of_signatures() -> None:
    line = NOTE.signatures[0]
    full = replace(NOTE, signatures=(line,) * limits.NOTE_SIGNATURES_MAX)
    assert Checkpoint.parse(full.text()) == full
    with pytest.raises(DecodeError, match="at most 100"):
        Checkpoint.parse(full.text() + line.line())
    with pytest.raises(DecodeError, match="100"):
        full.cosign(SLOT, 9, 1)


@pytest.mark.parametrize("change", [{"chain": b""}, {"root": bytes(31)}, {"size": -1}, {"size": 2**53}])
def test_what_is_out_of_bounds_is_no_checkpoint(change: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        replace(NOTE, **change)


def spoilt() -> dict[str, str]:
    text, first = NOTE.text(), NOTE.signatures[0]
    root = base64.b64encode(ROOT).decode()
    line = first.line()
    encoded = base64.b64encode(first.key_id + first.payload).decode()

    def with_line(new: str) -> str:
        return text.replace(line, new)

    return {
        "empty": "",
        "no blank line": text.replace("\n\n", "\n"),
        "carriage returns": text.replace("\n", "\r\n"),
        "a carriage return after the size": text.replace("17\n", "17\r\n"),
        "leading zero": text.replace("\n17\n", "\n017\n"),
        "plus": text.replace("\n17\n", "\n+17\n"),
        "no size": text.replace("\n17\n", "\n\n"),
        "other digits": text.replace("\n17\n", "\n\u0661\u0667\n"),
        "size over 2^53": text.replace("\n17\n", "\n9007199254740992\n"),
        "huge size": text.replace("\n17\n", "\n" + "9" * 5_000 + "\n"),
        "negative size": text.replace("\n17\n", "\n-17\n"),
        "extension line": text.replace("\n\n", "\nmore\n\n"),
        "another origin": text.replace("scichain-wf/", "other/"),
        "upper case origin": text.replace(CHAIN.hex(), CHAIN.hex().upper()),
        "newline in the origin": text.replace("scichain-wf/", "scichain-wf/\n"),
        "short root": text.replace(root, base64.b64encode(ROOT[:31]).decode()),
        "long root": text.replace(root, base64.b64encode(ROOT + b"a").decode()),
        "root without padding": text.replace(root, root.rstrip("=")),
        "root with other trailing bits": text.replace(root, root[:-2] + chr(ord(root[-2]) + 1) + "="),
        "root with white space": text.replace(root, root[:9] + " " + root[9:]),
        "root in the URL alphabet": text.replace(root, "-" + root[1:]),
        "root not ASCII": text.replace(root, "é" + root[1:]),
        "no newline at the end": text[:-1],
        "a blank line at the end": text + "\n",
        "hyphen for the dash": with_line(line.replace("\u2014", "-")),
        "no space after the dash": with_line(line.replace("\u2014 ", "\u2014")),
        "no name": with_line(f"\u2014  {encoded}\n"),
        "no signature": with_line(f"\u2014 {first.name}\n"),
        "empty signature": with_line(f"\u2014 {first.name} \n"),
        "only a key id": with_line(f"\u2014 {first.name} {base64.b64encode(first.key_id).decode()}\n"),
        "space in the name": with_line(f"\u2014 a b {encoded}\n"),
        "plus in the name": with_line(f"\u2014 a+b {encoded}\n"),
        "no-break space in the name": with_line(f"\u2014 a\u00a0b {encoded}\n"),
        "tab in the name": with_line(f"\u2014 a\tb {encoded}\n"),
        "escape in the name": with_line(f"\u2014 a\x1b[31m {encoded}\n"),
        "lone surrogate in the name": with_line(f"\u2014 a\ud800 {encoded}\n"),
        "something after the signature": with_line(line[:-1] + " \n"),
        "signature not base64": with_line(f"\u2014 {first.name} !!!!\n"),
        "too long": text + line * (limits.NOTE_BYTES_MAX // len(line)),
    }


@pytest.mark.parametrize("name", spoilt())
def test_other_spellings_are_refused(name: str) -> None:
    assert spoilt()[name] != NOTE.text()
    with pytest.raises(DecodeError):
        Checkpoint.parse(spoilt()[name])


@pytest.mark.parametrize("data", [b"\xff", b"\xe2\x80", NOTE.text().encode("utf-16")])
def test_bytes_that_are_not_utf8_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Checkpoint.parse(data)


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_arbitrary_text_is_no_checkpoint(text: str | bytes) -> None:
    with pytest.raises(DecodeError):
        Checkpoint.parse(text)
    mixed = NOTE.text() + text if isinstance(text, str) else NOTE.text().encode() + text
    if text:
        with pytest.raises(DecodeError):
            Checkpoint.parse(mixed)
