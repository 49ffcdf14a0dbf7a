"""A chain directory as a start finds it: what a crash or a person left of its small files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scichain_wf.client import kept
from scichain_wf.errors import LedgerCorrupt, VerificationError
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.epoch import Settings
from scichain_wf.node import chain as chains
from tests.chains import DiskChain


@pytest.fixture
def chain(tmp_path: Path, state_home: Path) -> Iterator[DiskChain]:
    """A chain whose user keeps its newest checkpoint."""
    with DiskChain(tmp_path / "chain") as made:
        with made.store.view() as view:
            note = Checkpoint(view.chain_id, view.size, view.root(view.size)).sign(made.builder.storage).text().encode()
        made.layout.checkpoint.write_bytes(note)
        kept.keep(made.builder.chain, note)
        yield made


@pytest.mark.parametrize("cut", [0, 1, 60])
def test_a_checkpoint_that_a_crash_cut_short_stops_nobody_and_is_told(chain: DiskChain, cut: int) -> None:
    path = chain.layout.checkpoint
    assert chains.check_notes(chain.store, chain.layout) == []
    path.write_bytes(path.read_bytes()[:cut])
    [doubt] = chains.check_notes(chain.store, chain.layout)
    assert f"{path} cannot be used" in doubt
    path.write_bytes(b"\xff\xfe")
    assert len(chains.check_notes(chain.store, chain.layout)) == 1
    path.unlink()
    assert chains.check_notes(chain.store, chain.layout) == []


def test_a_checkpoint_that_is_not_continued_or_of_another_chain_is_refused(chain: DiskChain) -> None:
    """Spec: SAFE-7."""
    path = chain.layout.checkpoint
    note = Checkpoint.parse(path.read_bytes())
    longer = Checkpoint(note.chain, note.size + 1, note.root).sign(chain.builder.storage)
    path.write_text(longer.text())
    with pytest.raises(VerificationError, match="scichain-wf recover"):
        chains.check_notes(chain.store, chain.layout)
    path.write_text(Checkpoint(bytes(32), note.size, note.root).sign(chain.builder.storage).text())
    with pytest.raises(VerificationError, match="is of another chain: put back the one of this chain"):
        chains.check_notes(chain.store, chain.layout)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"scichain-wf-trust-root-v1 sha256:" + b"0" * 64 + b"\n"])
def test_a_trust_root_that_is_something_else_is_refused(chain: DiskChain, text: bytes) -> None:
    chain.close()
    chain.layout.trust_root.write_bytes(text)
    with pytest.raises(LedgerCorrupt, match="names another chain than the ledger beside it"):
        chains.opened(chain.layout, 1, 1, Settings())
    assert chain.layout.trust_root.read_bytes() == text
