"""Charts: valid SVG that shows its data in its place, and tables of numbers."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from scichain_wf.sim import plot, summary
from scichain_wf.sim.config import SimConfig
from scichain_wf.sim.plot import Axis
from scichain_wf.sim.result import Result
from scichain_wf.sim.scenario import Outcome, Scenario
from tests.generators import generator

SVG = "{http://www.w3.org/2000/svg}"


def read(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314  it is our own


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in read(svg).iter(f"{SVG}text")]


def dots(svg: str) -> list[tuple[float, float]]:
    return [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in read(svg).iter(f"{SVG}circle")]


def test_points_are_where_their_values_are() -> None:
    svg = plot.chart("t", Axis("x", low=0, high=10), Axis("y", low=0, high=1), {"a": [(0, 0), (5, 0.5), (10, 1)]})
    left, middle, right = dots(svg)
    assert left[0] < middle[0] < right[0]
    assert left[1] > middle[1] > right[1]  # up is towards 0 in SVG
    assert list(middle) == pytest.approx([(left[0] + right[0]) / 2, (left[1] + right[1]) / 2])


def test_logarithmic_axis_has_equal_decades() -> None:
    svg = plot.chart("t", Axis("x", log=True), Axis("y", low=0, high=1), {"a": [(1, 0), (10, 0), (100, 0), (0, 0)]})
    across = [x for x, _ in dots(svg)]
    assert across[1] - across[0] == pytest.approx(across[2] - across[1])
    assert len(across) == 3  # 0 has no place on it
    assert {"1", "10", "100"} <= set(texts(svg))


def test_all_text_is_escaped() -> None:
    name = '<script>alert("&")</script>'
    svg = plot.chart(name, Axis(name), Axis(name), {name: [(1, 1)]})
    assert texts(svg).count(name) == 4
    assert not list(read(svg).iter(f"{SVG}script"))


def test_distribution_begins_at_0_and_ends_at_1() -> None:
    svg = plot.cdf("t", "ms", {"a": [float(i) for i in range(1, 11)], "none": []})
    points = dots(svg)
    assert len(points) == 11
    assert points[0][1] == max(y for _, y in points)
    assert points[-1][1] == min(y for _, y in points)


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 3.0], [0.0], [-5.0, 5.0], [1e9, 2e9]])
def test_any_values_make_a_chart(values: list[float]) -> None:
    for axis in (Axis("y"), Axis("y", log=True), Axis("y", low=0)):
        svg = plot.chart("t", Axis("x"), axis, {"a": [(i, value) for i, value in enumerate(values)]})
        read(svg)
        assert "nan" not in svg
        assert "inf" not in svg


def test_many_series_have_different_looks() -> None:
    svg = plot.chart("t", Axis("x"), Axis("y"), {str(i): [(0, i), (1, i)] for i in range(7)})
    lines = [p for p in read(svg).iter(f"{SVG}path") if "line" in p.attrib["class"]]
    looks = {(line.attrib["class"], line.attrib.get("stroke-dasharray")) for line in lines}
    assert (len(lines), len(looks)) == (14, 7)  # each in the legend and in the chart


def test_quantiles_are_samples() -> None:
    samples = [1.0, 2.0, 3.0, 4.0]
    assert [summary.quantile(samples, share) for share in (0, 0.25, 0.26, 0.5, 0.99, 1)] == [1, 1, 2, 2, 4, 4]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 µs"),
        (2e-6, "2 µs"),
        (0.0009994, "999 µs"),
        (0.0526, "52.6 ms"),
        (0.9999, "1 s"),
        (12.345, "12.3 s"),
        (1234, "1234 s"),
    ],
)
def test_durations_have_three_digits_and_a_unit(seconds: float, text: str) -> None:
    assert summary.duration(seconds) == text


def test_run_without_a_block_has_a_summary() -> None:
    result = Result(nodes=3, seed=1, marks={"contested": 0})
    shown = dict(summary.fields(result))
    assert (shown["latency of a block"].split()[0], shown["POET share"]) == ("none", "0.00 %")
    assert summary.row(Outcome(Scenario(SimConfig()), result))[-3:] == ("", "", "")
    assert summary.value(result)["durable_s"] == []


def test_the_published_page_says_what_the_figures_say() -> None:
    simulation = generator("generate_simulation")
    assert simulation.PAGE.read_text(encoding="utf-8") == simulation.page(), "python docs/generate_simulation.py"
