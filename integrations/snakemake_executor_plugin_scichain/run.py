"""The recorded run of a main Snakemake process: from the first executor to the closing line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Self

from scichain_wf.config import CHAIN_NAME, Config
from scichain_wf.errors import SubmissionError
from scichain_wf.hooks.digests import Hashing
from scichain_wf.hooks.records import Engine
from scichain_wf.hooks.redaction import Redaction
from scichain_wf.hooks.session import RunPlan, RunSession
from snakemake_executor_plugin_scichain.activation import disarm
from snakemake_executor_plugin_scichain.recording import JobRecording, Setting
from snakemake_executor_plugin_scichain.saying import say
from snakemake_executor_plugin_scichain.tally import Tally


def engine() -> Engine:
    """This Snakemake."""
    from snakemake import __version__

    return Engine("snakemake", str(__version__))


class MainRun:
    """Holds the session of one run.

    Attributes:
        session: the run.
        recording: what executors tell their jobs to.
    """

    def __init__(self, session: RunSession, recording: JobRecording, workflow: Any, *, closes_itself: bool) -> None:
        self.session = session
        self.recording = recording
        self._workflow, self._dag = workflow, workflow.dag
        if closes_itself:
            recording.at_end = self._close_without_logger

    @classmethod
    def start(cls, workflow: Any, config: Config, launched_from: Path, *, closes_itself: bool) -> Self:
        """Start the service in the workflow's directory, which is the current one.

        Raises:
            ScichainError: it did not start.
        """
        here = Path.cwd()
        snakefile = str(workflow.main_snakefile)
        plan = RunPlan(
            engine=engine(),
            directory=here,
            chain_dir=config.chain or here / CHAIN_NAME,
            nodes=config.nodes,
            workflow=snakefile if Path(snakefile).is_file() else None,
            command=sys.argv,
            settings={"strict": config.strict},
            launched_from=launched_from,
            flush_timeout_s=config.flush_timeout_s,
            ack=config.ack,
            metrics_dir=config.metrics_dir,
            burst_buffer=config.burst_buffer,
            author=config.author,
            author_key=config.author_key,
            hashing=Hashing.configured(config),
            redaction=Redaction(config.redact),
        )
        session = RunSession.start(plan, may_spool=not config.strict)
        if config.strict and session.recorder.problems:
            session.finish("failed", None)
            raise SubmissionError(session.recorder.problems[0])
        setting = Setting(
            plan.engine, session.recorder, session.artifacts, session.user, config.strict, plan.redaction
        )
        return cls(session, JobRecording(setting, workflow.dag), workflow, closes_itself=closes_itself)

    def is_of(self, workflow: Any) -> bool:
        """Whether this run is of this workflow, in this execution of it."""
        return workflow is self._workflow and workflow.dag is self._dag

    def finish(self, tally: Tally | None = None) -> list[str]:
        """End the run; returns the lines for the user.

        Args:
            tally: what Snakemake's log said, where somebody listened.
        """
        self.recording.interrupted()  # what no executor ended
        try:
            status, counts = self._outcome()
        except Exception as error:  # noqa: BLE001 - Snakemake's innards are no promise; our own counts remain
            self.session.recorder.problem(f"Snakemake's own tally could not be read: {error}")
            status, counts = self.recording.status(), None
        ran = set() if tally is None else tally.ran(self._workflow)
        expected = ran - self.recording.recorded
        return self.session.finish(status, counts, alone=self._workflow.local_exec, expected=expected)

    def _outcome(self) -> tuple[str, dict[str, int]]:
        """How the run ended, and what Snakemake says it ran (jobs without anything to run left out).

        A checkpoint makes the DAG anew, and what was finished before is no longer "needed": the scheduler counts on.
        """
        from snakemake_executor_plugin_scichain.jobs import is_recorded

        dag, scheduler = self._workflow.dag, self._workflow.scheduler
        collecting = sum(1 for job in dag.jobs if dag.finished(job) and not is_recorded(job))
        finished = scheduler.finished_jobs - collecting
        planned = finished + sum(1 for job in dag.needrun_jobs() if is_recorded(job))
        failed = sum(len(job) for job in scheduler.failed)
        status = self.recording.status()
        if getattr(scheduler, "_user_kill", None):  # SIGTERM: running jobs were finished, others not begun
            status = "interrupted"
        if status == "ok" and finished < planned:
            status = "failed"
        return status, {"planned": planned, "finished": finished, "failed": failed}

    def _close_without_logger(self) -> None:
        disarm()
        for line in self.finish():
            say(line)
