"""Every finding: its stable id, severity, title, what it means and what to do.

Checks report short codes (`ledger.problem.Problem.code`); this table turns a code into what people read. Ids are never
reused: reports, scripts and SARIF viewers keep them. `docs/reference/findings.md` is generated from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import NamedTuple


class Severity(StrEnum):
    """How a finding counts for the verdict."""

    ERROR = "error"
    """Something is not what was committed: FAILED."""
    UNCHECKED = "unchecked"
    """Something could not be checked, which is not a pass: INCOMPLETE, unless something else FAILED."""
    WARNING = "warning"
    """Nothing is altered, but a reader should know."""
    INFO = "info"


class Entry(NamedTuple):
    """One kind of finding."""

    id: str
    severity: Severity
    title: str
    meaning: str
    remedy: str


def entry_of(code: str) -> Entry:
    """The entry of a code."""
    return catalogue()[code]


@cache
def catalogue() -> Mapping[str, Entry]:
    """Code of a check -> what people read."""
    from scichain_wf.audit.catalogue_chain import CHAIN  # they import `Entry` from here
    from scichain_wf.audit.catalogue_records import RECORDS

    return MappingProxyType({**CHAIN, **RECORDS})
