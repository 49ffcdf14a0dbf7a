"""The example of short reads: two runs agree on the table and differ in the file it was made from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.workflows import Project, closing

pytest.importorskip("snakemake", reason="Snakemake is not installed: pip install 'scichain-wf[snakemake]'")
MISSING = [program for program in ("bwa", "samtools", "bcftools") if shutil.which(program) is None]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "variants"


def made(run: dict[str, Any]) -> dict[str, str]:
    """Digests of the outputs by file name."""
    outputs = [item for task in run["tasks"] for item in task["outputs"]]
    return {item["uri"].rpartition("/")[2]: item["digest"] for item in outputs}


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (see .ci/run)")
def test_a_date_in_a_header_is_seen_and_the_table_is_the_same(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "work", ignore=shutil.ignore_patterns(".*"))
    project = Project(tmp_path / "work", (EXAMPLE / "Snakefile").read_text())
    for arguments in ([], ["--forcerun", "call"]):
        result = project.snakemake(*arguments)
        assert result.returncode == 0, result.stderr
        closing(result)
    first, second = (made(run) for run in project.runs())
    assert set(second) == {"variants.vcf", "variants.tsv"} < set(first)
    assert first["variants.vcf"] != second["variants.vcf"]
    assert first["variants.tsv"] == second["variants.tsv"]
    found = [line.split("\t")[:3] for line in (project.directory / "results/variants.tsv").read_text().splitlines()]
    simulated = (project.directory / "data/truth.tsv").read_text().splitlines()
    assert found == [line.split("\t") for line in simulated]
    assert project.verdict() == 0
