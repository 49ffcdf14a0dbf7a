"""A copy of a chain that is being written: whole, sound, and with everything that was signed when it began."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scichain_wf import audit
from scichain_wf.cli import run
from scichain_wf.ledger.copying import snapshot
from tests.chains import small_chain
from tests.integration.service_kit import finding_tests

WRITER = """
import sys
from pathlib import Path
from tests.chains import DiskChain, small_chain
with small_chain(Path(sys.argv[1])) as chain:
    for number in range(400):
        task = chain.builder.task(f"t{number}", outputs=[chain.builder.artifact(f"f{number}", bytes(8))])
        chain.block(1, [task])
        if number % 20 == 0:
            chain.checkpoint()
        if number == 50:
            print("growing", flush=True)
"""


def test_copy_of_a_growing_chain_verifies(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "chain")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=finding_tests()) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"growing\n"
        sizes: list[int] = []
        while writer.poll() is None:
            report, _ = snapshot(tmp_path / "chain", tmp_path / f"copy-{len(sizes)}")
            sizes.append(report.size)
    assert writer.returncode == 0
    assert sizes == sorted(sizes)
    assert sizes[0] > 40
    for number in range(len(sizes)):
        result = audit.verify_chain(tmp_path / f"copy-{number}")
        assert result.exit_code == 0, result
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_links_that_are_not_signed_yet_are_left_out_and_counted(tmp_path: Path) -> None:
    with small_chain(tmp_path / "chain") as chain:
        chain.block(1, [chain.builder.task("new")])
    report, left_out = snapshot(chain.root, tmp_path / "copy")
    assert (report.size, left_out) == (6, 1)
    assert audit.verify_chain(tmp_path / "copy").exit_code == 0
    chain.layout.checkpoint.unlink()
    report, left_out = snapshot(chain.root, tmp_path / "whole")
    assert (report.size, left_out) == (7, 0)


def test_checkpoint_that_is_none_stops_a_snapshot(tmp_path: Path) -> None:
    small_chain(tmp_path / "chain").close()
    (tmp_path / "chain" / "checkpoint").write_text("nonsense")
    assert run(["ledger", "snapshot", str(tmp_path / "copy"), "--chain", str(tmp_path / "chain")]) == 1
    assert not (tmp_path / "copy").exists()


def test_snapshot_of_a_forged_chain_says_so(tmp_path: Path) -> None:
    small_chain(tmp_path / "chain").close()
    trust = tmp_path / "chain" / "trust-root"
    trust.write_text(trust.read_text()[:-66] + "0" * 64 + "\n")
    assert run(["ledger", "snapshot", str(tmp_path / "copy"), "--chain", str(tmp_path / "chain")]) == 1


def test_snapshot_of_a_damaged_chain_leaves_nothing(tmp_path: Path) -> None:
    small_chain(tmp_path / "chain").close()
    [file] = (tmp_path / "chain").glob("ledger/*/data.mdb")
    data = file.read_bytes()
    place = data.rindex(b"rule n=5")
    file.write_bytes(data[:place] + b"RULE n=5" + data[place + 8 :])
    assert run(["ledger", "snapshot", str(tmp_path / "copy"), "--chain", str(tmp_path / "chain")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["chain"]
