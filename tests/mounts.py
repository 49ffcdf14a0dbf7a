"""Small file systems for tests, mounted for real. Only root can; for others the test is skipped, and says so."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def tmpfs(point: Path, options: str) -> Iterator[Path]:
    """A tmpfs at the new directory `point`."""
    with mounted(point, ["mount", "-t", "tmpfs", "-o", options, "none", str(point)]):
        yield point


@contextmanager
def mounted(point: Path, command: list[str]) -> Iterator[Path]:
    """Whatever `command` mounts at the new directory `point`."""
    point.mkdir()
    if os.geteuid() != 0 or shutil.which(command[0]) is None:
        pytest.skip(f"only root can mount with {command[0]}, where it is installed")
    if (tried := subprocess.run(command, check=False, capture_output=True, text=True)).returncode != 0:
        pytest.skip(f"{' '.join(command[:3])}: {tried.stderr}")
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)
