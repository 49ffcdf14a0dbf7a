"""What one process needs to take part in the channels of a run."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Credentials:
    """Its certificate, its private key, the run authority's certificate. All PEM text."""

    certificate: str
    key: str = field(repr=False)
    authority: str
