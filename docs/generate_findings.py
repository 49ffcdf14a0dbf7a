"""Write docs/reference/findings.md from the catalogue of findings.

`python docs/generate_findings.py` writes it; with `--check` it writes nothing and exits 1 where it is not current.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from pages import keep

from scichain_wf.audit.catalogue import CATALOGUE

PAGE: Final = Path(__file__).parent / "reference" / "findings.md"


def page() -> str:
    """The page's text."""
    lines = [
        "# Findings",
        "",
        "What `scichain-wf verify` and `audit` can report; the latter looks at whole runs and finds more. An *error*",
        "makes the verdict FAILED, *unchecked* makes it INCOMPLETE, *warning* VERIFIED WITH WARNINGS; *info* changes",
        "nothing. Ids are never reused.",
    ]
    for entry in sorted(set(CATALOGUE.values())):
        lines += ["", f"## {entry.id}: {entry.title}", "", f"*{entry.severity}.* {entry.meaning}", "", entry.remedy]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(keep(PAGE, page()))
