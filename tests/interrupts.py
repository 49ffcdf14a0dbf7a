"""Processes in which a test's signal raises an exception."""

from __future__ import annotations

from collections.abc import Mapping


def interruptible(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without coverage's measurement.

    Its tracer takes a lock in Python code (`Collector.lock_data`). An interrupt that strikes in there leaves it locked,
    and the process waits for it forever when it ends: one in about 450, if the signal comes at a random moment.
    """
    return {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}
