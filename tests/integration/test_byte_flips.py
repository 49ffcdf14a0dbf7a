"""A sample of the byte-flip table; `python -m tests.integration.flips` prints the whole of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from scichain_wf import audit
from scichain_wf.bench.chains import generate_chain
from scichain_wf.ledger.layout import ChainLayout
from tests.chains import small_chain
from tests.integration import byteflips, changed_ledger, mutation_kinds
from tests.integration.flips import mutate


@pytest.fixture
def layout(tmp_path: Path) -> ChainLayout:
    with small_chain(tmp_path / "chain") as chain:
        return chain.layout


def test_flipped_bytes_are_found_when_they_alter_a_read_result_and_only_then(layout: ChainLayout) -> None:
    data = layout.live_ledger() / "data.mdb"
    flips = list(byteflips.flips_of(data.stat().st_size))
    sample = random.Random(1).sample(flips, 400) + flips[: 2 * 160]  # both meta pages' heads are where it hurts
    table = byteflips.run_flips(layout, data, sample)
    assert (table.missed, table.alarms) == ([], [])
    assert table.counts["altered, found"] > 50
    assert table.counts["not altered, verified"] > 50


def test_every_flipped_byte_of_the_checkpoint_is_found(layout: ChainLayout) -> None:
    flips = list(byteflips.flips_of(layout.checkpoint.stat().st_size))[::3]
    table = byteflips.run_flips(layout, layout.checkpoint, flips)
    assert (table.missed, table.alarms) == ([], [])


def test_a_flip_that_kills_its_reader_is_a_finding_of_the_auditor_proper(layout: ChainLayout) -> None:
    """The same flips, each with the auditor's own child processes."""
    data = layout.live_ledger() / "data.mdb"
    original = data.read_bytes()
    random_ = random.Random(2)
    for _ in range(12):
        page = random_.randrange(len(original) // 4_096) * 4_096
        with data.open("r+b") as file:
            file.seek(page)
            file.write(random_.randbytes(64))  # page headers and node offsets: lengths that lead anywhere
        assert audit.verify_chain(layout.root, jobs=1).exit_code in {0, 1, 3}
        data.write_bytes(original)
    assert audit.verify_chain(layout.root, jobs=1).exit_code == 0


def test_random_mutations_of_records_and_fields_are_found(tmp_path: Path) -> None:
    generate_chain(tmp_path / "chain", 600, per_block=40)
    outcome = mutate(tmp_path / "chain", 150, seed=3, full_sample=5)
    assert not outcome.missed
    assert outcome.found.total() == 150
    assert outcome.sample_differs == 0
    assert outcome.sound_after


@pytest.mark.parametrize("maker", [maker for _, maker in mutation_kinds.MAKERS], ids=lambda maker: maker.__name__)
def test_each_kind_of_mutation_is_found_by_the_auditor_proper(tmp_path: Path, maker: mutation_kinds.Maker) -> None:
    generate_chain(tmp_path / "chain", 60, per_block=30)
    ledger = changed_ledger.Ledger(ChainLayout(tmp_path / "chain"))
    mutation = maker(ledger, random.Random(4))
    with changed_ledger.applied(ledger, mutation):
        ledger.close()
        assert audit.verify_chain(tmp_path / "chain", jobs=1).exit_code in {1, 3}, mutation
    ledger.close()
    assert audit.verify_chain(tmp_path / "chain", jobs=1).exit_code == 0
