"""What Snakemake's log says it ran, so that jobs which left no record can be named."""

from __future__ import annotations

from logging import LogRecord
from typing import Any

from scichain_wf.hooks.records import task_key


class Tally:
    """Listens to the log of one run, in the thread that logs or in one of the log's own.

    Attributes:
        commands: by task key: what Snakemake formatted for the shell, from a job's beginning to its end.
    """

    def __init__(self) -> None:
        self.commands: dict[str, str] = {}
        self._jobs: dict[object, tuple[str, str]] = {}
        self._ran: set[object] = set()

    def note(self, record: LogRecord) -> None:
        """Take in one record of the log; most say nothing of a job's beginning or end."""
        event, said = getattr(record, "event", None), record.__dict__
        if event == "job_info":
            rule, wildcards = str(said["rule_name"]), said.get("wildcards") or {}
            key = task_key(rule, {str(k): str(v) for k, v in dict(wildcards).items()})
            self._jobs[said["jobid"]] = rule, key
            if said.get("shellcmd"):
                self.commands[key] = str(said["shellcmd"])
        elif event in ("job_finished", "job_error"):
            job = said["job_id" if event == "job_finished" else "jobid"]
            self._ran.add(job)
            if job in self._jobs:
                self.commands.pop(self._jobs[job][1], None)

    def clear(self) -> None:
        """Another run begins."""
        self.commands.clear()
        self._jobs.clear()
        self._ran.clear()

    def ran(self, workflow: Any) -> set[str]:
        """Task keys of the jobs that finished or failed and had something to record."""
        jobs = [self._jobs[job] for job in self._ran if job in self._jobs]
        rules = {rule: workflow.get_rule(rule) for rule, _ in jobs}
        return {key for rule, key in jobs if not rules[rule].norun or rules[rule].output}
