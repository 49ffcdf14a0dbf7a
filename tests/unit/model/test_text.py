"""Text forms: inverse to each other, one spelling each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf.errors import DecodeError
from scichain_wf.model import text

RAW = st.binary(min_size=32, max_size=32)


@given(RAW)
def test_digests_and_keys_come_back(raw: bytes) -> None:
    assert text.digest_bytes(text.digest_text(raw)) == raw
    assert text.public_key_bytes(text.public_key_text(raw)) == raw
    assert text.hex_bytes(raw.hex(), 32) == raw


@pytest.mark.parametrize("write", [text.digest_text, text.public_key_text])
@pytest.mark.parametrize("size", [0, 31, 33])
def test_another_length_is_not_written(write: Callable[[bytes], str], size: int) -> None:
    with pytest.raises(DecodeError):
        write(bytes(size))


def spoil(good: str, prefix: str) -> list[str]:
    digits = good.removeprefix(prefix)
    return [
        "",
        digits if prefix else digits[1:],
        good + "\n",
        good + "0",
        good[:-1],
        good[:-1] + "g",
        good[:-1] + "A",
        good[:-1] + "٣",  # a digit, but not one of ours
        good[:-2] + "a ",
        prefix + " " + digits,
        good.upper(),
        prefix + digits.replace("ab", "a_b", 1),
        good[:-1] + "\ud800",
        "\x00" + good[1:],
    ]


@pytest.mark.parametrize("bad", spoil("sha256:" + "ab" * 32, "sha256:"))
def test_other_spellings_of_a_digest_are_refused(bad: str) -> None:
    with pytest.raises(DecodeError):
        text.digest_bytes(bad)


@pytest.mark.parametrize("bad", spoil("ed25519:" + "ab" * 32, "ed25519:"))
def test_other_spellings_of_a_public_key_are_refused(bad: str) -> None:
    with pytest.raises(DecodeError):
        text.public_key_bytes(bad)


@pytest.mark.parametrize("bad", spoil("ab" * 16, ""))
def test_other_spellings_of_hex_are_refused(bad: str) -> None:
    with pytest.raises(DecodeError):
        text.hex_bytes(bad, 16)
