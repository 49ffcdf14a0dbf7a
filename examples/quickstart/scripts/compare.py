"""Put the daily means of all stations side by side: compare.py TABLE MEANS..."""

from __future__ import annotations

import csv
import sys
from pathlib import Path


def compare(target: Path, means: list[Path]) -> None:
    """Write one row a day with a column for each station; a day that a station missed stays empty."""
    stations: dict[str, dict[str, str]] = {}
    for path in means:
        with path.open(newline="") as source:
            stations[path.stem] = {row["date"]: row["celsius"] for row in csv.DictReader(source)}
    days = sorted({day for values in stations.values() for day in values})
    with target.open("w", newline="") as sink:
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(["date", *stations])
        writer.writerows([day, *(values.get(day, "") for values in stations.values())] for day in days)


if __name__ == "__main__":
    compare(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
