"""What the scripts beside it share: write a page, or say that it is not current."""

from __future__ import annotations

import sys
from pathlib import Path


def keep(path: Path, text: str) -> int:
    """Write a page, or nothing with `--check` on the command line; returns the exit code, 1 where it is not current."""
    if "--check" in sys.argv[1:]:
        return 0 if path.exists() and path.read_text(encoding="utf-8") == text else 1
    path.write_text(text, encoding="utf-8")
    return 0
