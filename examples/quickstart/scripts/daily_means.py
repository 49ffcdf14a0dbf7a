"""Average one station's readings by day: daily_means.py CLEAN MEANS."""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean


def daily_means(readings: Path, target: Path) -> None:
    """Write one row a day: date, mean temperature, number of readings."""
    days: dict[str, list[float]] = defaultdict(list)
    with readings.open(newline="") as source:
        for row in csv.DictReader(source):
            days[row["time"].partition("T")[0]].append(float(row["celsius"]))
    with target.open("w", newline="") as sink:
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(["date", "celsius", "readings"])
        writer.writerows((day, f"{fmean(values):.3f}", len(values)) for day, values in sorted(days.items()))


if __name__ == "__main__":
    daily_means(Path(sys.argv[1]), Path(sys.argv[2]))
