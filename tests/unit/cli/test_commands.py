"""Commands on small chains made in memory: what they print, and their exit codes."""

from __future__ import annotations

import resource
import shlex
import sys
from pathlib import Path

import pytest

from scichain_wf import __version__
from scichain_wf.cli.reading import when
from scichain_wf.ledger import fsck
from tests.chains import DiskChain, small_chain
from tests.unit.cli.kit import Say


def test_clean_chain_and_files_are_verified(chain: DiskChain, say: Say) -> None:
    said = say("verify")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("VERIFIED")
    assert "12 match" in said.out
    assert "10 quorum, 4 poet, 3 epoch" in said.out


def test_chain_is_found_from_a_directory_below(chain: DiskChain, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("out")
    assert say("verify").code == 0
    assert say("verify", "3.txt").code == 0


@pytest.mark.parametrize(
    "arguments",
    [["verify"], ["receipt"], ["lineage"], ["runs", "show"], ["audit"], ["diff", "../project/out/1.txt"]],
    ids=lambda arguments: arguments[0],
)
def test_the_chain_of_a_file_is_found_beside_it_from_anywhere(
    arguments: list[str], chain: DiskChain, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    said = say(*arguments, "../project/out/3.txt")
    assert (said.code, said.err) == (0, "")
    assert say(*arguments, "../nowhere/3.txt").code == 2


def test_changed_file_is_named_with_both_digests_and_the_task_that_made_it(chain: DiskChain, say: Say) -> None:
    Path("out/3.txt").write_text("tampered")
    for arguments in (["verify"], ["verify", "out/3.txt"], ["verify", "out/4.txt", "out/3.txt"]):
        said = say(*arguments)
        assert said.code == 1
        assert "FAILED" in said.out
        assert "out/3.txt" in said.out
        assert "expected  sha256:" in said.out
        assert "found     sha256:" in said.out
        assert "rule n=3, run " in said.out


def test_file_that_nobody_recorded_is_incomplete_not_verified(chain: DiskChain, say: Say) -> None:
    Path("other.txt").write_text("x")
    said = say("verify", "other.txt")
    assert said.code == 3
    assert said.out.startswith("INCOMPLETE")


def test_targets_may_be_a_run_a_chain_or_files(chain: DiskChain, say: Say) -> None:
    [listed] = say("runs", "list", "--json").json["runs"]
    assert say("verify", listed["run"][:10]).code == 0
    assert say("verify", ".scichain").code == 0
    assert say("verify", "out/1.txt", "out/2.txt").out.count("VERIFIED") == 2
    assert say("verify", "abcdef").code == 2
    both = say("verify", "out/1.txt", "out/2.txt", "--json").json
    assert [result["verdict"] for result in both] == ["VERIFIED", "VERIFIED"]


def test_json_is_the_result(chain: DiskChain, say: Say) -> None:
    Path("out/3.txt").unlink()
    said = say("verify", "--json")
    assert said.json["exit_code"] == said.code == 1
    assert said.json["verdict"] == "FAILED"


def test_foreign_trust_root_fails_and_the_right_one_is_said_to_be_pinned(
    chain: DiskChain, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = f"sha256:{chain.builder.chain.hex()}"
    assert "pinned by the caller" in say("verify", "--trust-root", root).out
    assert "pinned by the caller" in say("verify", "--trust-root", ".scichain/trust-root").out
    foreign = "sha256:" + "0" * 64
    assert say("verify", "--trust-root", foreign).code == 1
    assert say("verify", "--trust-root", "nonsense").code == 2
    monkeypatch.setenv("SCICHAIN_TRUST_ROOT", foreign)
    assert say("verify").code == 1


def test_kept_checkpoint_is_held_against_the_chain(chain: DiskChain, say: Say, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(Path(".scichain/checkpoint").read_bytes())
    assert say("verify", "--checkpoint", str(kept)).code == 0
    kept.write_text("nonsense")
    assert say("verify", "--checkpoint", str(kept)).code == 2


def test_receipt_verifies_without_the_chain(chain: DiskChain, say: Say, tmp_path: Path) -> None:
    """Spec: AUD-1."""
    root = f"sha256:{chain.builder.chain.hex()}"
    said = say("receipt", "out/2.txt", "-o", "receipt.json")
    assert said.code == 0
    assert root in said.out
    Path(".scichain").rename(tmp_path / "gone")
    proof = ["--receipt", "receipt.json", "--trust-root", root]
    assert say("verify", "out/2.txt", *proof).code == 0
    assert say("verify", *proof).code == 0
    assert say("verify", "out/2.txt", "out/3.txt", *proof).code == 2
    Path("out/2.txt").write_text("changed")
    assert say("verify", "out/2.txt", *proof).code == 1
    assert say("verify", "--receipt", "none").code == 2
    for option in (["--chain", "."], ["--checkpoint", ".scichain/checkpoint"]):  # it would not be looked at
        assert "leave --chain and --checkpoint out" in say("verify", *proof, *option).err
    Path("broken").write_text("{}")
    assert say("verify", "--receipt", "broken").code == 1


def test_receipt_of_a_hostile_name_is_checked_with_a_command_that_runs_nothing_else(chain: DiskChain, say: Say) -> None:
    said = say("receipt", "out/1.txt", "-o", "$(touch pwned);'r")
    told = next(line for line in said.out.splitlines() if "check with" in line).partition("scichain-wf ")[2]
    assert shlex.split(told)[:4] == ["verify", "out/1.txt", "--receipt", "$(touch pwned);'r"]
    assert say(*shlex.split(told)).code == 0


def test_receipt_for_which_there_is_no_room_leaves_nothing(chain: DiskChain, say: Say, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
        said = say("receipt", "out/1.txt", "-o", "r.json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (said.code, "r.json: File too large" in said.err, Path("r.json").exists()) == (2, True, False)


def test_receipt_goes_where_it_is_told_and_overwrites_nothing(chain: DiskChain, say: Say) -> None:
    assert say("receipt", "out/1.txt", "-o", "r.json", "--json").json["receipt"] == "r.json"
    again = say("receipt", "out/1.txt", "-o", "r.json")
    assert again.code == 2
    assert "exists already" in again.err
    assert say("receipt", "out/1.txt", "-o", "no/such/r.json").code == 2
    assert say("receipt", "nothing-recorded").code == 2
    assert say("receipt", "out/1.txt").out == Path("r.json").read_text()


def test_runs_are_listed_and_shown(chain: DiskChain, say: Say) -> None:
    said = say("runs", "list")
    assert said.out.splitlines()[0].split()[:3] == ["RUN", "STARTED", "STATUS"]
    [listed] = say("runs", "list", "--json").json["runs"]
    assert (listed["tasks"], listed["status"]) == (12, "ok")
    shown = say("runs", "show", listed["run"])
    assert "rule n=3" in shown.out
    assert say("runs", "show", listed["run"][:12], "--json").json["tasks"][3]["task"] == "rule n=3"
    for wrong in ("ffff", "xyz", ""):
        assert say("runs", "show", wrong).code == 2


def test_ledger_is_shown_proved_checked_and_copied(chain: DiskChain, say: Say, tmp_path: Path) -> None:
    assert "links  6" in say("ledger", "show").out
    block = say("ledger", "show", "3", "--json").json["links"][0]
    assert [item["kind"] for item in block["content"]][:2] == ["run-start", "task"]
    assert "run-start" in say("ledger", "show", "3").out
    assert say("ledger", "show", "99").code == 2
    proof = say("ledger", "proof", "3", "--json").json
    assert (proof["height"], proof["size"]) == (3, 6)
    assert proof["path"][0] in say("ledger", "proof", "3").out
    assert say("ledger", "proof", "6").code == 2
    assert say("ledger", "fsck").out.startswith("sound")
    assert say("ledger", "fsck", "--json").json["sound"] is True
    copy = tmp_path / "copy"
    assert say("ledger", "snapshot", str(copy)).code == 0
    assert say("ledger", "snapshot", str(copy)).code == 2
    assert not (copy / "keys").exists()
    assert say("ledger", "show", "--chain", str(copy)).code == 0


def test_fsck_of_an_altered_ledger_fails(chain: DiskChain, say: Say) -> None:
    [file] = Path(".scichain/ledger").glob("*/data.mdb")
    data = file.read_bytes()
    place = data.rindex(b"rule n=5")
    file.write_bytes(data[:place] + b"RULE n=5" + data[place + 8 :])
    said = say("ledger", "fsck")
    assert said.code == 1
    assert said.out.startswith("NOT SOUND")
    assert say("verify").code == 1


def test_snapshot_into_a_place_that_cannot_be_made_says_so(chain: DiskChain, say: Say) -> None:
    Path("file").write_text("")
    said = say("ledger", "snapshot", "file/below")
    assert said.code == 3
    assert "file/below" in said.err


def test_of_two_snapshots_to_one_place_the_slower_says_that_it_is_taken(
    chain: DiskChain, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fsck.fsck

    def overtaken(root: Path) -> object:
        report = real(root)
        Path("copy").mkdir()
        Path("copy/theirs").write_text("x")
        return report

    monkeypatch.setattr("scichain_wf.ledger.copying.fsck", overtaken)
    said = say("ledger", "snapshot", "copy")
    assert (said.code, said.err) == (2, "scichain-wf: copy exists already; name a directory that does not\n")
    assert [path.name for path in Path.cwd().iterdir() if "copy" in path.name] == ["copy"]
    assert [path.name for path in Path("copy").iterdir()] == ["theirs"]


@pytest.mark.parametrize("arguments", [["verify"], ["runs", "list"], ["ledger", "show"], ["receipt", "x"]])
def test_without_a_chain_every_command_says_how_one_comes_about(
    arguments: list[str], say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = say(*arguments)
    assert said.code == 2
    assert "--logger scichain" in said.err
    named = say(*arguments, "--chain", "nowhere")
    assert named.code == 2
    assert "nowhere is not a chain" in named.err


def test_configured_chain_is_taken_unless_one_is_named(
    chain: DiskChain, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert say("runs", "list").code == 2
    assert say("runs", "list", "--chain", "project").code == 0  # the directory that holds it will do
    Path("scichain.toml").write_text("chain = 'project/.scichain'\n")
    assert say("runs", "list").code == 0
    monkeypatch.setenv("SCICHAIN_CHAIN", "nowhere")
    assert say("runs", "list").code == 2
    monkeypatch.setenv("SCICHAIN_CHIAN", "x")
    assert "did you mean 'chain'" in say("runs", "list").err


def test_progress_is_shown_on_a_terminal_and_leaves_the_result_alone(
    chain: DiskChain, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = say("verify")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    shown = say("verify")
    assert (shown.code, shown.out) == (quiet.code, quiet.out)


def test_times_that_no_calendar_has_are_shown_as_they_are() -> None:
    assert when(10**18).endswith("µs")
    assert when(None) == ""


def test_chain_without_runs_says_so(tmp_path: Path, say: Say) -> None:
    DiskChain(tmp_path / "empty").close()
    assert "no runs" in say("runs", "list", "--chain", str(tmp_path / "empty")).out


def test_many_findings_are_counted_not_all_shown(tmp_path: Path, say: Say) -> None:
    small_chain(tmp_path / "c", tasks=40).close()
    said = say("verify", "--chain", str(tmp_path / "c"))
    assert said.code == 1
    assert "and 20 more findings" in said.out


def test_hostile_names_are_printed_escaped(chain: DiskChain, say: Say) -> None:
    said = say("verify", "\x1b[2J\n./x")
    assert "\x1b" not in said.out + said.err
    assert "\\x1b[2J\\n./x" in said.out


def test_version_and_what_it_runs_on(say: Say) -> None:
    assert say("version").out.startswith(f"scichain-wf {__version__}")
    assert say("version", "--json").json["scichain-wf"] == __version__
    assert say("--version").out == f"scichain-wf {__version__}\n"
