"""Drop missing and impossible readings, and put the rest in order of time: clean.py READINGS CLEAN."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

PLAUSIBLE_CELSIUS = (-2.0, 40.0)
"""Sea and river water; the sensors report faults as -99 or 85."""


def clean(readings: Path, target: Path) -> None:
    """Write the plausible readings of one station, sorted."""
    low, high = PLAUSIBLE_CELSIUS
    with readings.open(newline="") as source:
        rows = [(row["time"], float(row["celsius"])) for row in csv.DictReader(source) if row["celsius"]]
    kept = sorted((time, celsius) for time, celsius in rows if low <= celsius <= high)
    with target.open("w", newline="") as sink:
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(["time", "celsius"])
        writer.writerows((time, f"{celsius:.2f}") for time, celsius in kept)


if __name__ == "__main__":
    clean(Path(sys.argv[1]), Path(sys.argv[2]))
