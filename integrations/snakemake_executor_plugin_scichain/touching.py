"""Snakemake's `touch` executor (`--touch`), recording which outputs got a new time without being made anew."""

from __future__ import annotations

from typing import Any

from snakemake.executors.touch import Executor as TouchExecutor
from snakemake.executors.touch import common_settings

from snakemake_executor_plugin_scichain.activation import attach

__all__ = ["Executor", "common_settings"]


class Executor(TouchExecutor):
    """Touches like `touch`, and tells `recording`."""

    def __post_init__(self) -> None:
        """Find out whether this process records. Raises only in strict mode."""
        self._scichain = attach(self)

    def handle_job_success(self, job: Any) -> None:
        """After the files were touched."""
        super().handle_job_success(job)
        if self._scichain is not None:
            self._scichain.touched(job)

    def shutdown(self) -> None:
        """At the end of scheduling."""
        super().shutdown()
        if self._scichain is not None:
            self._scichain.ended()
