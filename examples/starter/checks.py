"""`start.py --test`: every part of tox.ini, one after the other, each with its result and time."""

from __future__ import annotations

import time
from pathlib import Path

from starter.environment import Environment
from starter.process import clean_environ, shown

PARTS = ("lint", "types", "imports", "docs", "unit", "sim", "integration", "e2e", "slurm", "browser", "coverage")
"""Quick and cheap parts first. `bench` measures, it does not pass or fail, and is run by hand."""

MAY_BE_EMPTY = ("sim", "browser")
"""Parts whose tests come with the code they test; until then they are reported as such, not as passed."""


def run(environment: Environment, root: Path) -> int:
    """Run all parts, even after a failure; returns 0 only if every part that has tests passed."""
    environ = clean_environ(environment.binaries)
    lines, failed = [], []
    for part in PARTS:
        if part in MAY_BE_EMPTY and not any((root / "tests" / part).rglob("test_*.py")):
            lines.append(f"  {part:<12} no tests yet")
            continue
        print(f"\n=== {part} ===", flush=True)
        started = time.monotonic()
        code = shown([str(environment.python), "-m", "tox", "run", "-q", "-e", part], root, environ)
        if code != 0:
            failed.append(part)
        lines.append(f"  {part:<12} {'ok' if code == 0 else 'FAILED':<7} {time.monotonic() - started:6.1f} s")
    print("\n=== result ===", *lines, sep="\n")
    print(f"FAILED: {', '.join(failed)}" if failed else "Every part that has tests is ok.", flush=True)
    return 1 if failed else 0
