"""The checkpoint that clients keep: where it is, and that it never goes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.client import kept

CHAIN = bytes(range(32))


def note(links: int, text: str = "root") -> bytes:
    return f"scichain\n{links}\n{text}\n".encode()


def test_what_is_kept_is_read_again_and_private(state_home: Path) -> None:
    kept.keep(CHAIN, note(3))
    assert kept.read(CHAIN) == note(3)
    assert kept.path(CHAIN) == state_home / "scichain" / CHAIN.hex() / "checkpoint"
    assert kept.path(CHAIN).parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in kept.path(CHAIN).parent.iterdir()] == ["checkpoint"]
    with pytest.raises(FileNotFoundError):
        kept.read(bytes(32))


@pytest.mark.parametrize(
    ("before", "after", "replaced"),
    [
        (note(3), note(4), True),
        (note(3), note(3, "other"), True),
        (note(4), note(3), False),
        (note(10), note(9), False),
        (b"", note(1), True),
        (b"damaged", note(1), True),
        (note(3), b"damaged", False),
        (b"scichain\n" + b"9" * 5_000 + b"\n", note(1), True),
    ],
)
def test_a_checkpoint_of_fewer_links_replaces_none(before: bytes, after: bytes, replaced: bool) -> None:
    kept.path(CHAIN).parent.mkdir(parents=True)
    kept.path(CHAIN).write_bytes(before)
    kept.keep(CHAIN, after)
    assert kept.read(CHAIN) == (after if replaced else before)


@pytest.mark.parametrize("stated", ["", "relative/place"])
def test_without_an_absolute_state_home_it_is_below_the_home(
    stated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the XDG specification says."""
    monkeypatch.setenv("XDG_STATE_HOME", stated)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kept.path(CHAIN) == tmp_path / ".local/state/scichain" / CHAIN.hex() / "checkpoint"


def test_a_huge_file_is_not_read_whole() -> None:
    kept.keep(CHAIN, b"x" * (limits.NOTE_BYTES_MAX + 100))
    assert len(kept.read(CHAIN)) == limits.NOTE_BYTES_MAX + 1
