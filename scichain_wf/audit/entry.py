"""What an entry of the catalogue of findings consists of."""

from __future__ import annotations

from enum import StrEnum
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
