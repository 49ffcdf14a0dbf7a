"""Write docs/reference/findings.md from the catalogue of findings and the table of their tests.

`python docs/generate_findings.py` writes it; with `--check` it writes nothing and exits 1 where it is not current.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # for `tests`

from pages import keep  # noqa: E402 - the path comes first

from scichain_wf.audit.catalogue import CATALOGUE  # noqa: E402
from tests.unit.audit.fixtures import RAISED, near_misses  # noqa: E402

PAGE: Final = ROOT / "docs" / "reference" / "findings.md"


def page() -> str:
    """The page's text."""
    lines = [
        "# Findings",
        "",
        "What `scichain-wf verify` and `audit` can report; the latter looks at whole runs and finds more. An *error*",
        "makes the verdict FAILED, *unchecked* makes it INCOMPLETE, *warning* VERIFIED WITH WARNINGS; *info* changes",
        "nothing. Ids are never reused.",
        "",
        "Each is shown by tests below `tests/unit`: what is named first raises it; the second is the nearest",
        "legitimate thing, which does not.",
    ]
    for entry in sorted(set(CATALOGUE.values())):
        lines += ["", f"## {entry.id}: {entry.title}", "", f"*{entry.severity}.* {entry.meaning}", "", entry.remedy]
        lines += ["", f"Raised: {_tests(RAISED, entry.id)}.", f"Almost: {_tests(near_misses(), entry.id)}."]
    return "\n".join(lines) + "\n"


def _tests(table: Mapping[str, tuple[str, ...]], number: str) -> str:
    return ", ".join(f"`{test}`" for test, numbers in table.items() if number in numbers)


if __name__ == "__main__":
    sys.exit(keep(PAGE, page()))
