"""What a process does first."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HOLES = """
import sys
from pathlib import Path
from scichain_wf.node import process

def kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

if sys.argv[1] == "returned":
    process.return_memory()
before, kept = kib(), []
b"x" * (300 << 10)
for _ in range(2):
    buffers = []
    for _ in range(64):
        buffers.append(b"x" * (256 << 10))
        kept.append(b"y" * 20_000)  # what stays between them
    del buffers
print(kib() - before)
"""


def grown_kib(how: str) -> int:
    """Memory that a process keeps after 128 buffers of 256 KiB each came and went; 2.5 MiB are still in use."""
    said = subprocess.run([sys.executable, "-c", HOLES, how], check=True, capture_output=True, text=True)
    return int(said.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators do not keep such buffers")
def test_large_buffers_that_are_freed_go_back_to_the_kernel() -> None:
    assert grown_kib("kept") > 8 << 10  # else there is nothing to mend any more
    assert grown_kib("returned") < 6 << 10
