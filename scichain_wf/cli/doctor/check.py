"""What one examination comes to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How good it is."""

    OK = "ok"
    WARN = "warn"
    """It works; somebody may be surprised later."""
    FAIL = "fail"
    """Recording will not work, or not be safe."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was examined, what was found, and what can be done about it (unless all is well)."""

    name: str
    level: Level
    found: str
    remedy: str = ""


def ok(name: str, found: str) -> Check:
    """All is well."""
    return Check(name, Level.OK, found)


def warn(name: str, found: str, remedy: str) -> Check:
    """See `Level`."""
    return Check(name, Level.WARN, found, remedy)


def fail(name: str, found: str, remedy: str) -> Check:
    """See `Level`."""
    return Check(name, Level.FAIL, found, remedy)


def size(number_bytes: int) -> str:
    """Bytes for people."""
    value, unit = float(number_bytes), 0
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    while value >= 1024 and unit < len(units) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {units[unit]}" if not unit or value >= 100 else f"{value:.1f} {units[unit]}"
