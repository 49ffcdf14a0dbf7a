"""Every finding: its stable id, severity, title, what it means and what to do.

Checks report short codes (`ledger.problem.Problem.code`); this table turns a code into what people read. Ids are never
reused: reports, scripts and SARIF viewers keep them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from scichain_wf.audit.catalogue_chain import CHAIN
from scichain_wf.audit.catalogue_records import RECORDS
from scichain_wf.audit.entry import Entry

CATALOGUE: Final[Mapping[str, Entry]] = MappingProxyType({**CHAIN, **RECORDS})
"""Code of a check -> what people read."""


def entry_of(code: str) -> Entry:
    """The entry of a code."""
    return CATALOGUE[code]
