"""What no verification may do on bad input: end without an answer, answer wrongly, obey it, or write to the chain."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.bad_chains import DAMAGES, HOSTILE, ROOT
from tests.integration.service_kit import finding_tests

JUDGES = {"verify", "audit"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the chains are."""
    return tmp_path_factory.mktemp("bad")


@pytest.fixture(scope="module")
def answers(place: Path) -> list[dict[str, Any]]:
    """What every command said on every chain."""
    arguments = [sys.executable, "-m", "tests.integration.bad_chains", str(place)]
    done = subprocess.run(arguments, cwd=ROOT, env=finding_tests(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.returncode}: after {done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def of(answers: list[dict[str, Any]], *chains: str) -> list[dict[str, Any]]:
    found = [answer for answer in answers if answer["chain"] in chains]
    assert {answer["chain"] for answer in found} == set(chains)
    return found


def test_every_command_answers_in_words_and_writes_nothing(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        told = answer["chain"], answer["command"], answer["code"], answer["err"][:500]
        assert answer["code"] in (0, 1, 2, 3), told
        assert answer["out"].strip() or answer["err"].startswith("scichain-wf: "), told
        assert "Traceback" not in answer["err"], told
        assert "internal error" not in answer["err"], told
        assert len(answer["err"]) < 3_000, told
        assert not answer["wrote"], told


def test_no_damaged_ledger_passes(answers: list[dict[str, Any]]) -> None:
    for answer in of(answers, *DAMAGES):
        whole = answer["command"][0] in JUDGES and "--receipt" not in answer["command"]
        if whole and answer["command"][1:2] != ["out/3.txt"]:
            assert answer["code"] in (1, 3), (answer["chain"], answer["command"], answer["out"])


def test_a_newer_format_is_no_failure(answers: list[dict[str, Any]]) -> None:
    for answer in of(answers, "newer format"):
        if "--receipt" not in answer["command"]:
            assert (answer["code"], "install a newer one" in answer["err"]) == (3, True), answer["command"]


def test_a_chain_in_use_is_verified(answers: list[dict[str, Any]]) -> None:
    for answer in of(answers, "in use"):
        assert answer["code"] == 0, (answer["command"], answer["err"], answer["out"][:500])


def test_what_belongs_to_another_chain_is_named(answers: list[dict[str, Any]]) -> None:
    for answer in of(answers, "another chain's"):
        assert answer["code"] == 1, answer["command"]
        assert "SC-CHAIN-090" in answer["out"], answer["command"]
        assert "--receipt" in answer["command"] or "SC-CHAIN-100" in answer["out"], answer["command"]


def test_hostile_names_are_shown_and_not_obeyed(answers: list[dict[str, Any]]) -> None:
    for answer in of(answers, "hostile records", "long and hostile names"):
        assert not {"\x1b", "\u202e"} & set(answer["out"] + answer["err"]), answer["command"]
    assert all(answer["code"] in (2, 3) for answer in of(answers, "long and hostile names"))


def test_hostile_records_are_text_in_a_report(answers: list[dict[str, Any]], place: Path) -> None:
    """The last one that was written is theirs."""
    assert of(answers, "hostile records")
    report = (place / "report.html").read_text(encoding="utf-8")
    assert HOSTILE[:16] not in report
    assert "&lt;script&gt;alert(1)" in report
