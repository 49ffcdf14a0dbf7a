"""One run of a Python program, or of a command: begun, joined or refused, and ended with its closing line.

A run leaves its id and its chain's directory in the environment: programs that it starts record into it (`join`). Only
the process that began a run ends it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, cast

from scichain_wf import __version__
from scichain_wf.config import CHAIN_NAME, Config, load_config
from scichain_wf.config.settings import BY_NAME
from scichain_wf.errors import ConfigError, SubmissionError, reason_of
from scichain_wf.hooks.artifacts import Artifact, Artifacts
from scichain_wf.hooks.closing import not_recorded_line, problem_lines
from scichain_wf.hooks.digests import Hashing, HashPolicy
from scichain_wf.hooks.environment import python_environment
from scichain_wf.hooks.join import CHAIN_VARIABLE, ROOT_VARIABLE, RUN_VARIABLE, join_run
from scichain_wf.hooks.recorder import Recorder
from scichain_wf.hooks.records import Engine, task_key
from scichain_wf.hooks.redaction import Redaction
from scichain_wf.hooks.saying import say
from scichain_wf.hooks.session import RunPlan, RunSession
from scichain_wf.model.bodies import TaskStatus

ENGINE: Final = Engine("scichain-wf", __version__)
"""Who runs the tasks of such a run."""


class Run:
    """A run that is being recorded; `with` begins and ends it.

    Args:
        chain: directory of the chain; default: configured, or `.scichain` in the current directory.
        nodes: agents of the embedded service; default: configured, or one.
        strict: fail rather than run what cannot be recorded; default: configured, or not.
        hashing: how much of files is read (`always`, `cached`, `size-mtime`, `off`); default: configured, or `cached`.
        redact: patterns of secrets beside the usual and the configured ones (`hooks.redaction`).
        command: the command line to record.
        quiet: print nothing but trouble.

    Attributes:
        complete: whether everything is on the chain; known after the end.

    Raises:
        ConfigError: an argument makes no sense.
        ScichainError: on entering, and only if strict: the run cannot be recorded; nothing was begun.
        SubmissionError: on leaving, and only if strict: the record is incomplete.
    """

    def __init__(
        self,
        *,
        chain: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None = None,
        nodes: int | None = None,
        strict: bool | None = None,
        hashing: str | None = None,
        redact: Iterable[str] = (),
        command: Sequence[str] | None = None,
        quiet: bool = False,
    ) -> None:
        self.strict, self.quiet, self.complete = bool(strict), quiet, False
        self._strict = strict
        self._patterns = tuple(redact)
        self.redaction = Redaction(self._patterns)
        try:
            self._policy = None if hashing is None else HashPolicy(hashing)
        except ValueError:
            raise ConfigError(f"hashing: {hashing!r} is not one of {', '.join(HashPolicy)}") from None
        self._nodes = None if nodes is None else _checked_nodes(nodes)
        self._chain = None if chain is None else Path(os.fsdecode(chain)).expanduser()
        self._command = list(sys.argv if command is None else command)
        self._pid = os.getpid()
        self._names: Counter[str] = Counter()
        self._made_by: dict[str, str] = {}
        self._begun = self._finished = self._failed = 0
        self._interrupted = False
        self._session: RunSession | None = None
        self._outer: Run | None = None
        self.users = 0
        self.recorder: Recorder | None = None
        self.artifacts: Artifacts | None = None
        self.user = ""

    def __enter__(self) -> Self:
        """Begin: join the run of an outer process, else start the service."""
        try:
            config = load_config(Path.cwd())
            self.strict = config.strict if self._strict is None else self._strict
            self.redaction = Redaction((*self._patterns, *config.redact))
            if not self._join(config):
                self._start(config)
        except Exception as error:
            if self.strict:
                raise
            say(not_recorded_line(reason_of(error)))
        with State.lock:
            self._outer, State.run = State.run, self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        """End: wait until everything is committed, and say what was recorded."""
        if os.getpid() != self._pid:
            return False  # a fork leaves its copy of the block
        with State.lock:
            if State.run is self:
                State.run = self._outer
        lines = self._finish(error)
        if not (self.complete and self.quiet):
            for line in lines:
                say(line)
        if self.strict and error is None and not self.complete:
            raise SubmissionError("the run is not completely recorded; the lines above say what is missing")
        return False

    def key(self, name: str) -> str:
        """A task key that no other task of this run has: the name, and its number where it comes again."""
        with State.lock:
            self._names[name] += 1
            times = self._names[name]
        others: dict[str, str] = {}
        if self._session is None or os.getpid() != self._pid:  # another process may use the same name
            others = {"host": "" if self.recorder is None else self.recorder.host, "process": f"{os.getpid()}"}
        return task_key(name, others | ({"n": str(times)} if times > 1 else {}))

    def made_by(self, uri: str) -> str | None:
        """Key of the task of this process that made an artifact."""
        return self._made_by.get(uri)

    def began(self) -> None:
        """A task began."""
        with State.lock:
            self._begun += 1

    def ended(self, key: str, status: TaskStatus, outputs: Iterable[Artifact]) -> None:
        """A task ended."""
        with State.lock:
            self._finished += status is TaskStatus.OK
            self._failed += status is TaskStatus.FAILED
            self._interrupted = self._interrupted or status is TaskStatus.INTERRUPTED
            self._made_by.update((str(artifact.value["uri"]), key) for artifact in outputs)

    def _join(self, config: Config) -> bool:
        run, chain_dir = os.environ.get(RUN_VARIABLE), os.environ.get(CHAIN_VARIABLE)
        if not run or not chain_dir:
            return False
        try:
            identity = bytes.fromhex(run)
        except ValueError:
            raise SubmissionError(f"{RUN_VARIABLE} is not the id of a run: {run!r:.80}") from None
        policy = self._policy or HashPolicy(config.hash_policy)
        root, delivery = os.environ.get(ROOT_VARIABLE, ""), (config.ack, config.burst_buffer)
        self.recorder, self.artifacts, self.user = join_run(
            identity, Path(chain_dir), Path.cwd(), Hashing(policy), root, *delivery
        )
        return True

    def _start(self, config: Config) -> None:
        here = Path.cwd()
        plan = RunPlan(
            engine=ENGINE,
            directory=here,
            chain_dir=here / (self._chain or config.chain or CHAIN_NAME),
            nodes=self._nodes or config.nodes,
            command=self._command,
            settings={"strict": self.strict, **python_environment()},
            hashing=Hashing.configured(config, self._policy),
            redaction=self.redaction,
            flush_timeout_s=config.flush_timeout_s,
            ack=config.ack,
            metrics_dir=config.metrics_dir,
            burst_buffer=config.burst_buffer,
            author=config.author,
            author_key=config.author_key,
        )
        session = self._session = RunSession.start(plan, may_spool=not self.strict)
        self.recorder, self.artifacts, self.user = session.recorder, session.artifacts, session.user
        os.environ[RUN_VARIABLE] = session.recorder.run.hex()
        os.environ[CHAIN_VARIABLE] = str(plan.chain_dir)
        os.environ[ROOT_VARIABLE] = session.naming.roots[0].handed_over()

    def _finish(self, error: BaseException | None) -> list[str]:
        if self._session is None:  # somebody else's run, or none
            problems = [] if self.recorder is None else self.recorder.problems
            self.complete = self.recorder is not None and not problems
            return problem_lines(problems)
        for variable in (RUN_VARIABLE, CHAIN_VARIABLE, ROOT_VARIABLE):
            os.environ.pop(variable, None)
        interrupted = self._interrupted or isinstance(error, KeyboardInterrupt)
        status = "interrupted" if interrupted else "failed" if self._failed or error is not None else "ok"
        tally = {"planned": self._begun, "finished": self._finished, "failed": self._failed}
        lines = self._session.finish(status, tally, alone=False)
        self.complete = self._session.complete
        return lines


class State:
    """Of this process: the run that is open, and who uses one that nobody opened on purpose."""

    lock = threading.RLock()
    run: Run | None = None
    own: Run | None = None

    @classmethod
    def enter(cls, run: Run | None) -> Run:
        """The run of a task that begins."""
        with cls.lock:
            run = run or cls.run
            if run is None:
                run = cls.own = Run().__enter__()
            run.users += 1
            return run

    @classmethod
    def leave(
        cls, run: Run, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A task ended; with the last one ends a run that nobody opened on purpose."""
        with cls.lock:
            run.users -= 1
            if run is not cls.own or run.users:
                return
            cls.own = None
        run.__exit__(kind, error, trace)


def _checked_nodes(nodes: int) -> int:
    setting = BY_NAME["nodes"]
    try:
        return cast("int", setting.parse(nodes, Path()))
    except (ValueError, TypeError):
        raise ConfigError(f"nodes: {nodes!r:.80} is not {setting.expects}") from None


def _renew_lock() -> None:
    """In a forked child: a thread of the parent may have held it."""
    State.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
