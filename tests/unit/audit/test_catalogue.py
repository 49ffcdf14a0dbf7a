"""The table of findings: ids are unique, every code that a check reports is in it, and nothing in it is unused."""

from __future__ import annotations

import re
from pathlib import Path

import scichain_wf
from scichain_wf.audit.catalogue import CATALOGUE, entry_of
from scichain_wf.audit.entry import Severity
from scichain_wf.audit.result import FileState, Finding, Result, Verdict, printable
from scichain_wf.ledger.problem import Problem
from tests.generators import generator

PACKAGE = Path(scichain_wf.__file__).parent
SOURCES = [*(PACKAGE / "audit").glob("*.py"), *(PACKAGE / "ledger").glob("*.py")]


def quoted() -> set[str]:
    """Every quoted word in the auditor's and the ledger's sources, the catalogue itself left out."""
    texts = [path.read_text() for path in SOURCES if not path.name.startswith("catalogue_")]
    return {word for text in texts for word in re.findall(r'"([a-z][a-z-]+)"', text)}


def test_ids_are_unique_and_of_one_family_each() -> None:
    ids = [entry.id for entry in CATALOGUE.values()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"SC-(?:CHAIN|TRACE|RUN|NODE|FILE|CONF)-[0-9]{3}", number) for number in ids)
    assert all(entry.title and entry.remedy for entry in CATALOGUE.values())


def test_codes_and_catalogue_agree() -> None:
    reported = {code for path in SOURCES for code in re.findall(r'Problem\(\s*"([a-z-]+)"', path.read_text())}
    assert reported <= CATALOGUE.keys()
    made = {"trace-contested", "trace-unresolved"}  # named by mark
    assert set(CATALOGUE) - quoted() - made == set()


def test_the_published_page_is_current() -> None:
    made = generator("generate_findings")
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), "run `python docs/generate_findings.py`"


def finding(code: str) -> Finding:
    return Finding.of(Problem(code, "x", "a", "b", 1, 2, "k"))


def test_the_worst_finding_decides_the_verdict() -> None:
    by_severity = {
        Severity.INFO: (Verdict.VERIFIED, 0),
        Severity.WARNING: (Verdict.WARNINGS, 0),
        Severity.UNCHECKED: (Verdict.INCOMPLETE, 3),
        Severity.ERROR: (Verdict.FAILED, 1),
    }
    codes = {entry_of(code).severity: code for code in ("conf-one-slot", "run-late", "checkpoint-absent", "block-id")}
    findings: list[Finding] = []
    for severity, expected in by_severity.items():
        findings.append(finding(codes[severity]))
        result = Result("x", tuple(findings))
        assert (result.verdict, result.exit_code) == expected
        assert result.verdict.value in result.sentence()
    assert set(finding("block-id").to_json()) >= {"id", "severity", "height", "index", "key", "remedy"}
    assert {state.value for state in FileState} >= {"match", "changed", "missing", "unknown", "unhashed"}


def test_hostile_names_do_not_reach_a_terminal() -> None:
    assert printable("a\x1b[2J\n\u202eb\udcff é") == "a\\x1b[2J\\n\\u202eb\\udcff é"
