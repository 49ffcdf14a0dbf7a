"""`scichain-wf audit`: renderings, `--fail-on`, and runs that are named by a file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from scichain_wf.model.text import digest_text
from tests.chains import DiskChain
from tests.unit.cli.kit import Say


def test_sarif_is_written_beside_the_text_and_says_what_is_affected(chain: DiskChain, say: Say) -> None:
    Path("out/3.txt").write_text("tampered")
    said = say("audit", "--sarif", "found.sarif")
    assert said.code == 1
    assert "affects   8 artifacts made from it: work:" in said.out
    results = json.loads(Path("found.sarif").read_text())["runs"][0]["results"]
    assert results[0]["ruleId"] == "SC-FILE-001"
    assert results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].endswith("/out/3.txt")


def test_report_is_written_and_its_digest_said(chain: DiskChain, say: Say) -> None:
    said = say("audit", "--html", "report.html")
    data = Path("report.html").read_bytes()
    assert said.code == 0
    assert f"wrote report.html ({len(data)} bytes, sha256:{hashlib.sha256(data).hexdigest()})" in said.err
    assert b"VERIFIED" in data


def test_audit_of_the_run_that_made_a_file_is_compared_with_itself(chain: DiskChain, say: Say) -> None:
    said = say("audit", "out/3.txt", "--baseline", "out/4.txt", "--json").json
    assert len(said["account"]["runs"]) == 1
    assert said["difference"]["same"] == 12
    assert say("runs", "show", "out/3.txt", "--json").json["run"] == said["account"]["runs"][0]["run"]


@pytest.mark.parametrize(("command", "level", "code"), [
    ("audit", "error", 0), ("audit", "warning", 0), ("audit", "info", 1), ("verify", "warning", 0),
    ("verify", "info", 1),
])
def test_fail_on(chain: DiskChain, say: Say, command: str, level: str, code: int) -> None:
    assert say(command, "--fail-on", level).code == code


def test_unchecked_stays_incomplete_whatever_fails(chain: DiskChain, say: Say) -> None:
    chain.layout.checkpoint.unlink()
    assert say("audit", "--fail-on", "info").code == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--baseline", "out/3.txt"], "name the run, too"),
        (["out/nothing.txt"], "no task on this chain says that it made such a file"),
        (["zz"], "is not the beginning of a run id"),
        (["--sarif", "no/such/dir"], "No such file or directory"),
        (["--html", "."], "is a directory"),
        (["--html", ".scichain/checkpoint"], "in the chain's own directory"),
        (["--sarif", "link"], "in the chain's own directory"),
    ],
)
def test_bad_input_is_told(chain: DiskChain, say: Say, arguments: list[str], told: str) -> None:
    """Before anything is verified, and nothing is overwritten."""
    Path("link").symlink_to(chain.layout.trust_root)
    said = say("audit", *arguments)
    assert (said.code, said.out) == (2, "")
    assert told in said.err
    assert say("verify").code == 0


@pytest.mark.parametrize(("tampered", "code"), [(False, 3), (True, 1)])
def test_a_report_that_cannot_be_written_hides_no_failure(
    chain: DiskChain, say: Say, tampered: bool, code: int
) -> None:
    if tampered:
        Path("out/3.txt").write_text("tampered")
    said = say("audit", "--html", "/dev/full", "--sarif", "found.sarif")
    assert (said.code, "/dev/full was not written: No space left" in said.err) == (code, True)
    assert json.loads(Path("found.sarif").read_text())["runs"]


@pytest.mark.parametrize("command", ["verify", "audit"])
def test_a_trust_root_that_the_project_chose_is_said_to_be(chain: DiskChain, say: Say, command: str) -> None:
    """Who made the project wrote that file, too: it pins nothing against him."""
    root = digest_text(chain.builder.chain)
    Path("scichain.toml").write_text(f'trust_root = "{root}"\n')
    said = say(command)
    assert (said.code, "scichain.toml:1: whoever wrote that file chose it" in said.err) == (0, True)
    assert "chose it" not in say(command, "--trust-root", root).err
