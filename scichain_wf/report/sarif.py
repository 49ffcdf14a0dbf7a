"""SARIF 2.1.0: findings for code-scanning services and editors."""

from __future__ import annotations

import os
from typing import Any, Final
from urllib.parse import quote

from scichain_wf.audit.catalogue import CATALOGUE
from scichain_wf.audit.entry import Entry
from scichain_wf.audit.result import Finding, Result, printable

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS: Final = {"error": "error", "unchecked": "warning", "warning": "warning", "info": "note"}


def to_sarif(result: Result, version: str) -> dict[str, Any]:
    """One SARIF log with one run, by this program of `version`. `properties` hold the verdict."""
    used = sorted({finding.id for finding in result.findings})
    entries = {entry.id: entry for entry in CATALOGUE.values()}
    places = {number: place for place, number in enumerate(used)}
    paths = {file.path for file in result.files if file.path}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "scichain-wf",
                        "version": version,
                        "rules": [_rule(entries[number]) for number in used],
                    }
                },
                "invocations": [
                    {"executionSuccessful": result.exit_code in (0, 1), "exitCode": result.exit_code},
                ],
                "results": [_result(finding, places[finding.id], paths) for finding in result.findings],
                "columnKind": "unicodeCodePoints",
                "properties": {"verdict": result.verdict.value, "sentence": result.sentence()},
            }
        ],
    }


def _rule(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "shortDescription": {"text": entry.title},
        "fullDescription": {"text": entry.meaning or entry.title},
        "help": {"text": entry.remedy},
        "defaultConfiguration": {"level": _LEVELS[entry.severity]},
    }


def _result(finding: Finding, rule: int, paths: set[str]) -> dict[str, Any]:
    more = {
        name: value
        for name, value in finding.to_json().items()
        if name in ("height", "index", "key", "expected", "actual", "blast", "blast_count")
    }
    return {
        "ruleId": finding.id,
        "ruleIndex": rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.line()},
        "locations": [_location(finding.subject, paths)],
        "properties": {"severity": finding.severity.value, **more},
    }


def _location(subject: str, paths: set[str]) -> dict[str, Any]:
    """The file, where it is one; else what the finding is about, by name."""
    path = subject.partition(" (made by ")[0]
    if path in paths and os.path.isabs(path):
        return {"physicalLocation": {"artifactLocation": {"uri": "file://" + quote(path)}}}
    return {"logicalLocations": [{"fullyQualifiedName": printable(subject)}]}
