"""Figures as Prometheus text, read by Prometheus' own parser; and the files they are left in."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from scichain_wf import limits
from scichain_wf.node import metrics
from scichain_wf.node.log import Log
from scichain_wf.node.metrics import Histogram, Metric, Posted, counter, gauge

HOSTILE = 'a"b\\c\nd\x1b[2J\u202e{}=,\ud800é'


def parsed(text: str) -> dict[str, tuple[str, str, list[tuple[str, dict[str, str], float]]]]:
    """Name → (kind, about, samples)."""
    families = list(text_string_to_metric_families(text))
    return {f.name: (f.type, f.documentation, [(s.name, s.labels, s.value) for s in f.samples]) for f in families}


def test_what_is_written_is_what_prometheus_reads() -> None:
    every = {"chain": "ab", "role": HOSTILE}
    dropped = counter("dropped_total", "Dropped", "reason", {HOSTILE: 3})
    text = metrics.text([gauge("links", "Links", 7), dropped], every)
    shown = HOSTILE.encode(errors="backslashreplace").decode()
    labels = {"chain": "ab", "role": shown}
    assert parsed(text) == {
        "scichain_links": ("gauge", "Links", [("scichain_links", labels, 7.0)]),
        "scichain_dropped": ("counter", "Dropped", [("scichain_dropped_total", {**labels, "reason": shown}, 3.0)]),
    }
    assert text.encode().count(b"\n") == 6


def test_a_histogram_adds_up() -> None:
    seconds = Histogram()
    for value in (0.0, 0.001, 0.0011, 7.0, 31.0):
        seconds.observe(value)
    kind, _, samples = parsed(metrics.text([Metric("s", "histogram", "-", seconds.samples())], {}))["scichain_s"]
    buckets = {labels["le"]: value for name, labels, value in samples if name == "scichain_s_bucket"}
    assert kind == "histogram"
    assert (buckets["0.001"], buckets["0.0025"], buckets["5"], buckets["10"], buckets["+Inf"]) == (2, 3, 3, 4, 5)
    assert [value for name, _, value in samples if name == "scichain_s_count"] == [5]
    assert [value for name, _, value in samples if name == "scichain_s_sum"] == [pytest.approx(38.0021)]


class Enough(Exception):
    """What ends a test's rendering."""


def kept(posted: Posted) -> None:
    with pytest.raises(Enough):
        asyncio.run(posted.keep())


def test_a_file_is_written_when_there_is_something_new_and_removed_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SLOTS_S", 0.0)
    asked: list[int] = []
    written: list[str] = []
    path = tmp_path / "new" / "figures"

    def render() -> str:
        if path.exists():
            written.append(path.read_text())
            path.write_text("by somebody")
        asked.append(0)
        if len(asked) > 8:
            raise Enough
        return "a" if len(asked) < 5 else "b"

    posted = Posted(path, render, 0.0, Log("test"))
    kept(posted)
    assert (written[0], "b" in written, written.count("a")) == ("a", True, 1)
    assert [entry.name for entry in path.parent.iterdir()] == ["figures"]
    posted.remove()
    posted.remove()
    assert list(path.parent.iterdir()) == []


def test_what_cannot_be_written_is_said_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(limits, "SLOTS_S", 0.0)
    (tmp_path / "file").write_text("mine")
    asked: list[int] = []

    def render() -> str:
        asked.append(0)
        if len(asked) > 20:
            raise Enough
        return str(len(asked))

    posted = Posted(tmp_path / "file" / "figures", render, 0.0, Log("test"))
    kept(posted)
    posted.remove()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["a file about this process cannot be written"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "planted", [lambda way: way.symlink_to("mine"), os.mkfifo, Path.mkdir], ids=["link", "pipe", "directory"]
)
def test_nothing_is_written_through_what_another_user_put_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: Callable[[Path], None]
) -> None:
    """A directory that is scraped may be everybody's."""
    monkeypatch.setattr(limits, "SLOTS_S", 0.0)
    path, mine, way = tmp_path / "a.prom", tmp_path / "mine", tmp_path / ".a.prom.new"
    mine.write_text("mine")
    planted(way)
    asked: list[int] = []

    def render() -> str:
        asked.append(0)
        if len(asked) > 1:
            raise Enough
        return "figures"

    kept(Posted(path, render, 0.0, Log("test")))
    assert mine.read_text() == "mine"
    assert path.exists() != way.is_dir()
    assert not path.is_symlink()


def test_what_is_counted_meanwhile_does_not_disturb() -> None:
    counts: dict[str, int] = {}

    class Reason(str):
        """The store's thread counts another reason while this one is rendered."""

        def __str__(self) -> str:
            counts["new"] = 1
            return "first"

    counts[Reason("first")] = 3
    assert [sample.labels for sample in metrics.labelled("reason", counts)] == [{"reason": "first"}]
