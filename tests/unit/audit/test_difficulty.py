"""An adaptive difficulty as the audit recomputes it, whatever order and process it looks in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scichain_wf import limits
from scichain_wf.audit import blocks
from scichain_wf.ledger import keys
from scichain_wf.model.difficulty import Difficulty
from scichain_wf.model.epoch import Settings
from tests.builders import ChainBuilder
from tests.chains import DiskChain
from tests.unit.audit.support import appended, ids, put, verify_here

R = limits.RETARGET_LINKS


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[DiskChain]:
    """A chain beyond its second retarget, whose pace slowed down meanwhile."""
    settings = Settings(difficulty=Difficulty("adaptive", 0, 100, 500_000))
    with DiskChain(tmp_path / "chain", ChainBuilder(settings=settings)) as made:
        builder, said = made.builder, set()
        for number in range(2 * R):
            said.add(builder.difficulty())
            builder.tick(step_us=40_000 if number >= R - 3 else 1_000)
            made.block(1, [builder.task(f"t{number}")])
        assert said == {0, 2, 3}
        yield made


def test_a_chain_that_follows_its_rule_holds(chain: DiskChain) -> None:
    chain.checkpoint()
    chain.close()
    assert ids(verify_here(chain.root)) == set()


def test_a_chain_verifies_however_few_times_are_remembered(chain: DiskChain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_ANCHORS_KEPT", 1)
    chain.checkpoint()
    chain.close()
    assert ids(verify_here(chain.root)) == set()


@pytest.mark.parametrize("said", [0, 2, 4])
def test_another_difficulty_is_found(chain: DiskChain, said: int) -> None:
    builder = chain.builder
    builder.settings = Settings(difficulty=Difficulty(value=said))
    candidate = builder.quorum(builder.block(2, [builder.task("x")]))
    result = appended(chain.root, candidate, chain=chain)
    assert ids(result) == {"SC-CHAIN-056"}
    (finding,) = [finding for finding in result.findings if finding.id == "SC-CHAIN-056"]
    assert [finding.expected, finding.actual] == ["3", str(said)]


@pytest.mark.parametrize("height", [0, R, 2 * R])
@pytest.mark.parametrize("data", [None, b"{}"])
def test_a_difficulty_whose_anchor_cannot_be_read_is_not_a_finding_of_its_own(
    chain: DiskChain, height: int, data: bytes | None
) -> None:
    chain.checkpoint()
    chain.close()
    put(chain.root, [(keys.LINKS, keys.height_key(height), data)])
    found = ids(verify_here(chain.root))
    assert found
    assert "SC-CHAIN-056" not in found


def test_a_block_whose_parent_is_not_before_it_has_no_difficulty_of_its_own(chain: DiskChain) -> None:
    builder = chain.builder
    builder.height += 5 * R
    builder.link_times_us += [0] * (5 * R)
    candidate = builder.quorum(builder.block(2, [builder.task("x")]))
    builder.height -= 5 * R
    found = ids(appended(chain.root, candidate, chain=chain))
    assert "SC-CHAIN-051" in found or "SC-CHAIN-052" in found
    assert "SC-CHAIN-056" not in found


@pytest.mark.parametrize(("older_us", "found"), [(0, set()), (1, {"SC-CHAIN-058"})])
def test_a_parent_too_old_for_its_difficulty_is_found(chain: DiskChain, older_us: int, found: set[str]) -> None:
    builder = chain.builder
    block = builder.block(2, [builder.task("x")])
    between, append_us = builder.quorum(builder.block(1, [builder.task("between")])), 1_000
    builder.now_us = builder.link_times_us[-1] + limits.PARENT_AGE_US_MAX + older_us - append_us
    chain.append(between)
    result = appended(chain.root, builder.quorum(block), chain=chain)
    assert ids(result) == found
