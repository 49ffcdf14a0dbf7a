"""Write docs/explanation/tamper-drill.md from the table that tests/e2e/test_tamper_drill.py shows to be true.

`python docs/generate_tamper_drill.py` writes it; with `--check` it writes nothing and exits 1 where it is not current.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # for `tests`

from pages import keep  # noqa: E402 - the path comes first

from scichain_wf.audit.catalogue import CATALOGUE  # noqa: E402
from tests.e2e.manipulations import MANIPULATIONS, Manipulation  # noqa: E402

PAGE = ROOT / "docs" / "explanation" / "tamper-drill.md"
INTRODUCTION = """# A tamper drill

A small workflow is recorded (`snakemake --logger scichain`), copied, and something is done to the copy. Then two
programs are asked: `scichain-wf verify --trust-root ROOT`, which compares with what was recorded, and
`snakemake --dry-run`, which decides whether there is something to do. The second is not made to find manipulations,
but it is what people look at.
Every row is a test (`tests/e2e/test_tamper_drill.py`).

| what was done | `scichain-wf verify` | `snakemake --dry-run` |
|---|---|---|
"""
END = """
What `verify` does not look at, on purpose or so far:

- **Sources.** Files that no recorded task made may change after they were read; the record keeps the digest of what
  was read, and `scichain-wf runs show RUN` prints it. One that changed between two readers is there with both digests.
- **The Snakefile and scripts as they are now.** The record keeps digests of the code that ran; what is edited later
  made nothing yet.
- **Times and permissions.** They are not content.
- **Snakemake's metadata.** Nothing of it is believed.
"""


def row(manipulation: Manipulation) -> str:
    """One line of the table."""
    titles = {entry.id: entry.title for entry in CATALOGUE.values()}
    named = [f"{titles[found]} ({found})" for found in manipulation.findings]
    said = "; ".join([f"**{manipulation.verdict}**", *named]) if named else manipulation.verdict
    if manipulation.apply is None and not named:
        said = "nothing of this (see below)"
    would = f"would run {', '.join(manipulation.reruns)}" if manipulation.reruns else "nothing to be done"
    return f"| {manipulation.name} | {said} | {would} |\n"


def page() -> str:
    """The page's text."""
    return INTRODUCTION + "".join(map(row, MANIPULATIONS)) + END


if __name__ == "__main__":
    sys.exit(keep(PAGE, page()))
