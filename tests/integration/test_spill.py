"""Storage is away for long and shared memory is full: nothing that was acknowledged is lost, nothing is doubled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.kills import committed_tasks
from tests.integration.service_kit import assert_verifies, committed, finding_tests

ROOT = Path(__file__).resolve().parents[2]
COUNT = 2_000


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("unshare") is None, reason="mounting takes root"
)
def test_records_spill_to_the_burst_buffer_and_each_is_committed_once(tmp_path: Path) -> None:
    """While the storage node is stopped. Spec: LOSS-1."""
    chain, base = tmp_path / "chain", tmp_path / "burst"
    base.mkdir()
    script = 'mount -t tmpfs -o size=1m,mode=1777 none /dev/shm && exec "$@"'
    program = [sys.executable, "-m", "tests.integration.spill", str(chain), str(base), str(COUNT)]
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *program],
        env=finding_tests(),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    said = json.loads(run.stdout)
    assert said["problems"] == []
    assert said["spilled"] == said["sent"]["spool"] > 300, said
    assert "No space left" in said["detour"] or "fitted" in said["detour"]
    assert (said["spooled"], said["committed"], said["left"]) == (0, COUNT, 0)
    assert sorted(committed_tasks(chain)) == sorted(f"t{number}" for number in range(COUNT))
    assert all(len(places) == 1 for places in committed(chain).values())
    assert_verifies(chain)
