"""Say which station was the warmest, and how fast each warmed: report.py TABLE REPORT."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from statistics import fmean, linear_regression

BAR_CELSIUS = 0.5
"""What one character of a bar stands for."""


def report(table: Path, target: Path) -> None:
    """Write a line for each station, warmest first: mean, trend, a bar."""
    with table.open(newline="") as source:
        rows = list(csv.DictReader(source))
    lines = ["Water temperature, mean and trend", ""]
    stations: dict[str, tuple[float, float]] = {}
    for station in [name for name in rows[0] if name != "date"]:
        points = [(day, float(row[station])) for day, row in enumerate(rows) if row[station]]
        days, celsius = [day for day, _ in points], [value for _, value in points]
        stations[station] = fmean(celsius), linear_regression(days, celsius).slope
    for station, (mean, slope) in sorted(stations.items(), key=lambda item: -item[1][0]):
        lines.append(f"{station:<10} {mean:6.2f} °C  {slope:+.3f} °C a day  {'#' * round(mean / BAR_CELSIUS)}")
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    report(Path(sys.argv[1]), Path(sys.argv[2]))
