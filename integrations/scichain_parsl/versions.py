"""Which Parsl this was tested with.

Parsl comes out each week or two, so an upper bound would be wrong most of the time.
"""

from __future__ import annotations

import re
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Final

OLDEST: Final = "2026.2.23"
NEWEST_TESTED: Final = "2026.10.26"


def warn_of_newer() -> None:
    """Warn where the installed Parsl is newer than the newest that was tested."""
    found = _installed()
    if _numbers(found) > _numbers(NEWEST_TESTED):
        warnings.warn(
            f"Parsl {found} is newer than the newest that scichain-wf was tested with. "
            f"If a run fails or is not recorded: pip install 'parsl=={NEWEST_TESTED}'",
            stacklevel=3,
        )


def advice(error: ImportError) -> str:
    """What to do where something of Parsl is not where it was."""
    found = _installed()
    if not found:
        return f"{error}: Parsl is not installed here; pip install 'scichain-wf[parsl]'"
    return (
        f"{error}: scichain-wf works with Parsl {OLDEST} to {NEWEST_TESTED}, and this is Parsl {found}; "
        f"pip install 'parsl=={NEWEST_TESTED}'"
    )


def _installed() -> str:
    """Its version; empty if it is not installed."""
    try:
        return version("parsl")
    except PackageNotFoundError:
        return ""


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)[:3]]
