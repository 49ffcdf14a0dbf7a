"""Snakemake's local executor, recording what each job read and wrote.

Imported by every Snakemake start of the environment, inner ones included: so it imports nothing but what Snakemake
has imported anyway, does nothing unless a recorded run is active, and cannot fail. It is active when the logger
plugin (`--logger scichain`) put it in the place of `local`, when an outer recorded run left its run id in the
environment, or when chosen by name (`--executor scichain`). It defines no settings: `--local-*` flags would appear.
"""

import os
import threading
from dataclasses import replace
from typing import Any

from snakemake.executors.local import Executor as LocalExecutor
from snakemake.executors.local import common_settings as local_settings

common_settings = replace(local_settings)
"""As the executor that this one stands in for."""


class Executor(LocalExecutor):
    """Runs jobs like `local`; tells `recording` before and after each of them."""

    def __post_init__(self) -> None:
        """Find out whether this process records. Raises only in strict mode."""
        super().__post_init__()
        from snakemake_executor_plugin_scichain.activation import attach

        self._scichain = attach(self)

    def run_job(self, job: Any) -> None:
        """In the scheduler's thread: what only it may ask the DAG."""
        if self._scichain is not None:
            _let_sigterm_in(self.workflow)
            self._scichain.announce(job)
        super().run_job(job)

    def cached_or_run(self, job: Any, run_func: Any, *args: Any) -> None:
        """In a worker thread: hash inputs, run, hash outputs."""
        if self._scichain is None:
            super().cached_or_run(job, run_func, *args)
            return

        def proceed(run: Any) -> None:
            super(Executor, self).cached_or_run(job, run, *args)

        self._scichain.around(job, run_func, proceed)

    def handle_job_success(self, job: Any) -> None:
        """After Snakemake's own post-processing, before temporary files are removed."""
        super().handle_job_success(job)
        if self._scichain is not None:
            self._scichain.succeeded(job)

    def handle_job_error(self, job: Any) -> None:
        """After Snakemake removed incomplete outputs, before a retry."""
        super().handle_job_error(job)
        if self._scichain is not None:
            self._scichain.failed(job)

    def cancel(self) -> None:
        """On Ctrl-C: what was running is recorded as interrupted."""
        try:
            super().cancel()
        finally:
            if self._scichain is not None:
                self._scichain.interrupted()

    def shutdown(self) -> None:
        """At the end of scheduling."""
        super().shutdown()
        if self._scichain is not None:
            self._scichain.ended()


def _let_sigterm_in(workflow: Any) -> None:
    """Before the first job, when nobody holds it: let the scheduler's lock be taken twice by one thread.

    Snakemake's handler of SIGTERM takes it, in the thread that may hold it: then Snakemake 9.27 waits for itself
    for ever. We must not make that likelier, and `succeeded` and `failed` are called under that lock.
    """
    scheduler: Any = getattr(workflow, "scheduler", None)
    if workflow.local_exec and isinstance(getattr(scheduler, "_lock", None), type(threading.Lock())):
        scheduler._lock = threading.RLock()  # noqa: SLF001 - it is not otherwise to be reached


if os.environ.get("SCICHAIN_RUN_ID"):
    try:
        from snakemake_executor_plugin_scichain.activation import replace_local

        replace_local()
    except Exception as error:  # noqa: BLE001 - a plugin that cannot be imported breaks every Snakemake run here
        from snakemake_executor_plugin_scichain.saying import say

        say(f"scichain: this process is not recorded: {error}")
