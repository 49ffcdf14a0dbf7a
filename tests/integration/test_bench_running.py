"""The benchmarks of a running chain measure what they say, on real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from scichain_wf.bench import commit, latency, load
from scichain_wf.client.service import Service
from scichain_wf.errors import VerificationError
from scichain_wf.model.transaction import RunId


def test_throughput_counts_what_the_chain_holds(tmp_path: Path) -> None:
    options = commit.Options(nodes=2, hooks=2, transactions=120, repeats=1, warmup=20, directory=tmp_path)
    result = commit.run(options)
    figures = {figure.name: figure for figure in result.figures}
    assert len(figures["emit to fsynced link"].samples) == 1
    assert {"CPU of hooks", "CPU of slot-1", "CPU of slot-2", "CPU of storage", "CPU of all"} <= figures.keys()
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_is_not_on_the_chain_ends_the_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OneShort(load.Hooks):
        def __init__(self, service: Service, run: RunId, processes: int, count: int, seed: int) -> None:
            super().__init__(service, run, processes, count - 1, seed)

    monkeypatch.setattr(load, "Hooks", OneShort)
    with pytest.raises(VerificationError, match="of 20 emitted records the chain holds 19"):
        commit.run(commit.Options(nodes=1, hooks=1, transactions=1, repeats=0, warmup=20, directory=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_latency_is_of_whole_blocks(tmp_path: Path) -> None:
    result = latency.run(latency.Options(nodes=2, blocks=5, warmup=1, directory=tmp_path, pause_s=0.1))
    figures = {figure.name: figure for figure in result.figures}
    assert figures.keys() >= {"proposal to link in every tail", "first emit to link in every tail"}
    for figure in figures.values():
        assert 1 <= len(figure.samples) <= 5
        assert all(sample > 0 for sample in figure.samples)
    assert list(tmp_path.iterdir()) == []
