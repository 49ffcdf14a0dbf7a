"""`snakemake --reporter scichain`: writes the audit's report of the workflow's chain.

Without `--report`, which in Snakemake 9.27 chooses Snakemake's own reporter whatever else is said. Imported by every
Snakemake start of the environment, so nothing of `scichain_wf` is imported before it is chosen. What Snakemake knows of
the workflow is held against the chain: an output that its own metadata says it made, and that the chain knows nothing
of, is named. Else the chain is the truth: Snakemake leaves completed checkpoints out.
"""
# Annotations here must be real types, and no unions of the new kind: Snakemake builds its command line from them.
# ruff: noqa: UP045

from dataclasses import dataclass, field
from typing import Optional

from snakemake_interface_report_plugins.reporter import ReporterBase
from snakemake_interface_report_plugins.settings import ReportSettingsBase

_PATH = "File to write: .html, .json or .txt (default: scichain-report.html)."
_CHAIN = "Directory of the chain (default: configured, or .scichain in the workflow's working directory)."


@dataclass
class ReportSettings(ReportSettingsBase):
    """The flags `--report-scichain-...`."""

    path: Optional[str] = field(default=None, metadata={"help": _PATH, "metavar": "FILE"})
    chain: Optional[str] = field(default=None, metadata={"help": _CHAIN, "metavar": "DIR"})


class Reporter(ReporterBase):
    """Writes the report."""

    def render(self) -> None:
        """Audit the chain.

        Raises:
            WorkflowError: there is no chain, or the report cannot be written.
        """
        from snakemake_report_plugin_scichain.writing import write

        write(self.settings, self.jobs)
