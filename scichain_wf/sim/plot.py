"""Charts as self-contained SVG: axes, ticks, a legend, no script, readable in light and dark.

The same data gives the same bytes. All text is escaped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_WIDTH, _HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 28, 44, 56
_LEGEND_LINE: Final = 18
_LEGEND_COLUMNS: Final = 3
_DASHES: Final = ("", "7 3", "2 3", "9 3 2 3", "4 2", "12 4")
_MARKED: Final = 24
"""Lines of at most so many points show the points."""
_CDF_POINTS: Final = 400
_LIGHT: Final = ("#0066b3", "#b34e00", "#00805c", "#a8328a", "#6b5b00", "#444444", "#c0182b")
_DARK: Final = ("#5db4ff", "#ff9d4d", "#3ddba8", "#f08ad8", "#e0cc4a", "#cccccc", "#ff7a85")


def _colours(palette: Sequence[str], back: str, text: str, grid: str, axis: str) -> str:
    """Style rules of one scheme, in plain CSS 2: renderers other than browsers know no more."""
    series = "".join(f".s{i} {{ stroke: {c}; }} .d{i} {{ fill: {c}; }} " for i, c in enumerate(palette))
    return (
        f".back {{ fill: {back}; }} text {{ fill: {text}; }} .grid {{ stroke: {grid}; }} "
        f".axis {{ stroke: {axis}; }} {series}"
    )


_STYLE: Final = (
    "text { font-family: sans-serif; font-size: 13px; } .title { font-size: 15px; font-weight: 600; } "
    ".end { text-anchor: end; } .middle { text-anchor: middle; } .line { stroke-width: 2; }\n"
    + _colours(_LIGHT, "#ffffff", "#1a1a1a", "#dddddd", "#555555")
    + "\n@media (prefers-color-scheme: dark) { "
    + _colours(_DARK, "#14171a", "#e8e8e8", "#33383d", "#aaaaaa")
    + "}"
)


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis. `log`: decades instead of equal steps; values must then be above 0."""

    label: str
    log: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class _Scale:
    """Values to pixels."""

    low: float
    high: float
    log: bool
    begin: float
    end: float

    def at(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.begin + (value - low) / (high - low) * (self.end - self.begin)


def cdf(title: str, label: str, samples: Mapping[str, Sequence[float]]) -> str:
    """Cumulative distributions of positive samples, over a logarithmic axis."""
    series = {name: _steps(sorted(values)) for name, values in samples.items()}
    return chart(title, Axis(label, log=True), Axis("share of all", low=0, high=1), series)


def _steps(ordered: Sequence[float]) -> list[tuple[float, float]]:
    """At most about 400 points of the distribution, the first and the last among them."""
    count = len(ordered)
    if not count:
        return []
    picked = sorted({round(i * (count - 1) / _CDF_POINTS) for i in range(_CDF_POINTS + 1)})
    return [(ordered[0], 0.0), *((ordered[index], (index + 1) / count) for index in picked)]


def chart(title: str, x: Axis, y: Axis, series: Mapping[str, Iterable[tuple[float, float]]]) -> str:
    """Lines over two axes.

    Args:
        title: above the chart.
        x: the axis across; its range follows from the points unless given.
        y: the axis up, likewise.
        series: (x, y) points by name, in the order of the legend. A logarithmic axis shows what is above 0.
    """
    lines = {name: [(a, b) for a, b in points if _shown(x, a) and _shown(y, b)] for name, points in series.items()}
    top = _TOP + _LEGEND_LINE * math.ceil(len(lines) / _LEGEND_COLUMNS)
    across = _scale(x, [a for points in lines.values() for a, _ in points], _LEFT, _WIDTH - _RIGHT)
    up = _scale(y, [b for points in lines.values() for _, b in points], _HEIGHT - _BOTTOM, top)
    middle = (top + _HEIGHT - _BOTTOM) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect class="back" width="{_WIDTH}" height="{_HEIGHT}"/>',
        f'<text class="title" x="{_LEFT}" y="22">{escape(title)}</text>',
        *_legend(list(lines)),
        *_grid(across, up, top),
        f'<text class="middle" x="{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}" y="{_HEIGHT - 12}">{escape(x.label)}</text>',
        f'<text class="middle" transform="translate(18 {middle:.0f}) rotate(-90)">{escape(y.label)}</text>',
    ]
    for number, points in enumerate(lines.values()):
        parts += _line(number, [(across.at(a), up.at(b)) for a, b in points])
    return "\n".join([*parts, "</svg>", ""])


def _shown(axis: Axis, value: float) -> bool:
    return math.isfinite(value) and (value > 0 or not axis.log)


def _scale(axis: Axis, values: Sequence[float], begin: float, end: float) -> _Scale:
    low = min(values, default=1.0) if axis.low is None else axis.low
    high = max(values, default=10.0) if axis.high is None else axis.high
    if axis.log:
        low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
        high = high if high > low else low * 10
    elif high <= low:
        high = low + 1.0
    elif axis.high is None:
        step = _step(low, high)
        low, high = (low if axis.low is not None else math.floor(low / step) * step), math.ceil(high / step) * step
    return _Scale(low, high, axis.log, begin, end)


def _step(low: float, high: float) -> float:
    """A round step that gives some five ticks."""
    rough = (high - low) / 5
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next(step * magnitude for step in (1, 2, 5, 10) if step * magnitude >= rough * 0.999)


def _ticks(scale: _Scale) -> list[float]:
    if scale.log:
        first, last = round(math.log10(scale.low)), round(math.log10(scale.high))
        return [10.0**power for power in range(first, last + 1)]
    step = _step(scale.low, scale.high)
    return [i * step for i in range(math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9) + 1)]


def _grid(across: _Scale, up: _Scale, top: float) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in _ticks(across):
        at = across.at(tick)
        parts.append(f'<path class="grid" d="M{at:.1f} {top}V{bottom}"/>')
        parts.append(f'<text class="middle" x="{at:.1f}" y="{bottom + 20}">{_number(tick)}</text>')
    for tick in _ticks(up):
        at = up.at(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{right}"/>')
        parts.append(f'<text class="end" x="{_LEFT - 8}" y="{at + 4:.1f}">{_number(tick)}</text>')
    return [*parts, f'<path class="axis" fill="none" d="M{_LEFT} {top}V{bottom}H{right}"/>']


def _number(value: float) -> str:
    return f"{round(value, 12):,.6g}" if abs(value) < 1e6 else f"{value:.0e}".replace("e+0", "e")


def _legend(names: Sequence[str]) -> list[str]:
    columns = max(1, min(len(names), _LEGEND_COLUMNS))
    parts, width = [], (_WIDTH - _LEFT - _RIGHT) / columns
    for number, name in enumerate(names):
        x, y = _LEFT + number % columns * width, _TOP + number // columns * _LEGEND_LINE - 4
        parts += _line(number, [(x, y), (x + 28, y)], dots=False)
        parts.append(f'<text x="{x + 34:.1f}" y="{y + 4:.1f}">{escape(name)}</text>')
    return parts


def _line(number: int, points: Sequence[tuple[float, float]], *, dots: bool = True) -> list[str]:
    if not points:
        return []
    colour, dash = number % len(_LIGHT), _DASHES[number % len(_DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    parts = [f'<path class="line s{colour}" fill="none"{dashed} d="{path}"/>']
    if dots and len(points) <= _MARKED:
        parts += [f'<circle class="d{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points]
    return parts
