"""Runs one part of the tests: `python tests/run_part.py unit tidy -- -n auto`.

Collecting no test is a failure (pytest's exit code 5), so a part can not turn green by losing its tests. Only with
`--may-be-empty` a part without tests says so in plain words and runs nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
EMPTY = "--may-be-empty"
NO_TESTS_COLLECTED = 5  # as pytest says it


def main(arguments: list[str]) -> int:
    """Run pytest over the named folders of tests/; everything after `--` goes to pytest."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parts, options = [part for part in arguments[:cut] if part != EMPTY], arguments[cut + 1 :]
    folders = [TESTS / part for part in parts if any((TESTS / part).rglob("test_*.py"))]
    if not folders:
        print(f"{' '.join(parts)}: no tests yet, nothing was run", flush=True)
        return 0 if EMPTY in arguments[:cut] else NO_TESTS_COLLECTED
    if data := os.environ.get("COVERAGE_FILE"):
        Path(data).parent.mkdir(parents=True, exist_ok=True)
    # A person may name files instead of the part: `tox -e unit -- tests/unit/test_limits.py`.
    named = any(not option.startswith("-") and Path(option.split("::")[0]).exists() for option in options)
    command = [sys.executable, "-m", "pytest", *options, *([] if named else map(str, folders))]
    # Safe path: `-m` would otherwise put the checkout before the installed wheel.
    return subprocess.run(command, cwd=TESTS.parent, env={**os.environ, "PYTHONSAFEPATH": "1"}, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
