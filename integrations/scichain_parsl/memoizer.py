"""What the main process sees of each try, through Parsl's interface for memoization.

Parsl asks its memoizer before every try and tells it how every task ended; so it is here that a run begins and ends,
that a try learns what it is called, and that what never reaches a worker is recorded: memo hits, tasks whose
dependencies failed, tries that could not be submitted. Nothing here raises into Parsl (a future would hang), unless
the run cannot begin and is strict.
"""

from __future__ import annotations

import logging
import pickle
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from parsl.app.futures import DataFuture
from parsl.dataflow.errors import DependencyError
from parsl.dataflow.futures import AppFuture
from parsl.dataflow.memoization import BasicMemoizer, Memoizer
from parsl.dataflow.states import States
from parsl.executors.errors import BadStateException
from parsl.utils import get_all_checkpoints
from parsl.version import VERSION

from scichain_parsl import arguments, shim
from scichain_parsl.memos import Made, Makers
from scichain_wf.client.service import Others
from scichain_wf.config import CHAIN_NAME, load_config
from scichain_wf.errors import reason_of
from scichain_wf.hooks.closing import not_recorded_line
from scichain_wf.hooks.digests import Hashing
from scichain_wf.hooks.records import Engine, TaskFacts, task_body
from scichain_wf.hooks.redaction import Redaction
from scichain_wf.hooks.saying import say
from scichain_wf.hooks.session import RunPlan, RunSession
from scichain_wf.model.bodies import ArtifactState, Kind, TaskStatus
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.uri import value_uri

logger = logging.getLogger("parsl.scichain.memoizer")


class Keeper(Protocol):
    """Starts agents of a run on other hosts; `agents`: how many."""

    agents: int

    def place(self) -> tuple[str, tuple[int, int]]:
        """Host and ports where they find this process."""

    def record(self, chain: Path | None, agents_min: int = 0, /) -> None:
        """Keep this chain, with so many agents at least; None: the run is over."""


class ProvenanceMemoizer(Memoizer):
    """Records a run of Parsl; memoization itself is another memoizer's.

    Args:
        inner: what memoizes; Parsl's own by default.
        chain: directory of the chain; default: configured, or `.scichain` in the current directory.
        nodes: agents of the embedded service; default: configured, or one.
        strict: fail rather than run what cannot be recorded; default: configured.
        same_code: run a task again whose known result was made by other code: Parsl's key knows names only.
        keepers: start agents on other hosts.
    """

    def __init__(
        self,
        inner: Memoizer | None = None,
        *,
        chain: str | None = None,
        nodes: int | None = None,
        strict: bool | None = None,
        same_code: bool = False,
        keepers: Sequence[Keeper] = (),
    ) -> None:
        self._keepers, self._same_code = keepers, same_code
        self._inner = inner or BasicMemoizer()
        self._flags = {"chain": chain, "nodes": nodes, "strict": strict}
        self._session: RunSession | None = None
        self._told = b""
        self._strict = False
        self._redaction = Redaction(())
        self._lock = threading.Lock()
        self._planned: dict[int, str] = {}
        """Name of the app by task id: Parsl forgets a task once it is done."""
        self._finished = self._failed = 0
        self._makers = Makers((), None)

    # --- Parsl's interface --------------------------------------------------------------------------
    def start(self, *, run_dir: str, config_run_dir: str) -> None:
        """Begin the run.

        Raises:
            ScichainError: it cannot be recorded, and is strict.
        """
        self._inner.start(run_dir=run_dir, config_run_dir=config_run_dir)
        self._planned, self._finished, self._failed = {}, 0, 0
        keeps = getattr(self._inner, "checkpoint_mode", None) is not None
        taken = getattr(self._inner, "checkpoint_files", None) or get_all_checkpoints(config_run_dir)
        self._makers = Makers(taken, Path(run_dir) / "checkpoint" if keeps else None)
        strict = bool(self._flags["strict"])
        try:
            here = Path.cwd()
            config = load_config(here, flags=self._flags, flag_prefix="scichain_config ")
            strict = config.strict
            self._redaction = Redaction(config.redact)
            plan = RunPlan(
                engine=Engine("parsl", VERSION),
                directory=here,
                chain_dir=config.chain or here / CHAIN_NAME,
                nodes=config.nodes,
                workflow=sys.argv[0] if Path(sys.argv[0]).is_file() else None,
                command=sys.argv,
                settings={"strict": strict, "run_dir": run_dir},
                flush_timeout_s=config.flush_timeout_s,
                ack=config.ack,
                burst_buffer=config.burst_buffer,
                others=_others(self._keepers),
                hashing=Hashing.configured(config),
                redaction=self._redaction,
            )
            session = self._session = RunSession.start(plan, may_spool=not strict)
        except Exception as error:
            if strict:
                self._inner.close()
                raise
            say(not_recorded_line(reason_of(error)))
            return
        for keeper in self._keepers:
            keeper.record(plan.chain_dir, _agents_min(config.nodes, self._keepers))
        told = {
            "run": session.recorder.run.hex(),
            "chain": str(plan.chain_dir),
            "root": session.naming.roots[0].handed_over(),
            "hashing": plan.hashing,
            "redact": config.redact,
            "ack": config.ack,
            "burst": config.burst_buffer,
            "version": VERSION,
        }
        self._told, self._strict = pickle.dumps(told), strict

    def check_memo(self, task: Any) -> Future[Any] | None:
        """Before a try: whether its result is known; if not, the try gets its context."""
        kwargs = task["kwargs"]
        if arguments.CONTEXT not in kwargs or self._session is None:
            plain: Future[Any] | None = self._inner.check_memo(task)
            return plain
        kwargs[arguments.CONTEXT] = str(arguments.app_of(kwargs))  # without what the last try was told
        known: Future[Any] | None = self._inner.check_memo(task)
        if known is not None and self._same_code and self._is_stale(task):
            known = None
        try:
            with self._lock:
                self._planned[task["id"]] = task["func_name"]
            if known is None:
                kwargs[arguments.CONTEXT] = self._context(task, self._session.recorder.run.hex())
            elif known.exception() is None:  # else it is a try that failed, see `tried`
                self._record_here(task, TaskStatus.CACHED, None, known.result())
        except Exception as error:  # noqa: BLE001 - HOOK-1
            self._problem(task, error)
        return known

    def update_memo_result(self, task: Any, r: Any) -> None:
        """A task ended well."""
        with self._lock:
            self._finished += task["id"] in self._planned
        try:
            self._keep_maker(task)
            self._inner.update_memo_result(task, r)
        except Exception as error:  # its result shall not hang on a checkpoint that cannot be written
            logger.exception("Task %d (%s) is not checkpointed", task["id"], task["func_name"])
            self._problem(task, error)

    def update_memo_exception(self, task: Any, e: BaseException) -> None:
        """A task failed for good."""
        with self._lock:
            if arguments.CONTEXT in task["kwargs"]:
                self._planned[task["id"]] = task["func_name"]
                self._failed += 1
        try:
            self._inner.update_memo_exception(task, e)
        except Exception as error:  # as above
            logger.exception("Task %d (%s) is not memoized", task["id"], task["func_name"])
            self._problem(task, error)

    def close(self) -> None:
        """End the run: wait until everything is committed, and say what was recorded."""
        session, self._session = self._session, None
        if session is not None:
            try:
                status = "failed" if self._failed else "ok" if self._finished == len(self._planned) else "interrupted"
                tally = {"planned": len(self._planned), "finished": self._finished, "failed": self._failed}
                for line in session.finish(status, tally, alone=False):
                    say(line)
            except Exception as error:  # noqa: BLE001 - HOOK-1
                say(f"scichain: the run could not be ended properly: {error}")
            finally:
                shim.forget(self._told)
                for keeper in self._keepers:
                    keeper.record(None)
        self._inner.close()

    # --- each failed try ----------------------------------------------------------------------------
    def tried(self, error: BaseException, task: Any) -> None:
        """A try failed; record it if no worker can have done so. For `retry_handler`, see `scichain_config`."""
        if self._session is None or arguments.CONTEXT not in task["kwargs"]:
            return
        try:
            # In a bad state are executors without workers.
            unseen = isinstance(error, DependencyError | BadStateException) or arguments.NOT_BEGUN in vars(error)
            if unseen or task["status"] == States.pending:
                self._record_here(task, TaskStatus.FAILED, error)
        except Exception as trouble:  # noqa: BLE001 - HOOK-1
            self._problem(task, trouble)

    # --- records ------------------------------------------------------------------------------------
    def _keep_maker(self, task: Any) -> None:
        memo, session, app = task.get("hashsum"), self._session, arguments.app_of(task["kwargs"])
        if not memo or session is None or not app.kind:
            return
        made = self._makers.of(memo) if task["from_memo"] else None
        if made is None:
            key = arguments.key_of(task["func_name"], task["id"])
            uri = value_uri(session.recorder.run.hex(), key, task["try_id"] + 1)
            made = Made(uri, app.code, key)
        self._makers.keep(memo, made)

    def _is_stale(self, task: Any) -> bool:
        """Whether the result that is known was made by other code than would run now."""
        made = self._makers.of(task.get("hashsum"))
        return made is not None and made.code != arguments.app_of(task["kwargs"]).code

    def _context(self, task: Any, run: str) -> arguments.Context:
        origins: dict[str, str] = {}
        returned: list[tuple[Any, str, str]] = []
        for future in task["depends"]:
            if isinstance(future, DataFuture):
                maker = self._planned.get(future.tid)
                if maker is not None:
                    origins[str(future.file_obj.url)] = arguments.key_of(maker, future.tid)
            elif isinstance(future, AppFuture) and arguments.app_of(future.task_record["kwargs"]).kind == "python":
                key = arguments.key_of(future.task_record["func_name"], future.tid)
                uri = value_uri(run, key, future.task_record["try_id"] + 1)
                returned.append((future.result(), uri, key))
        own = {
            "task": arguments.key_of(task["func_name"], task["id"]),
            "try": task["try_id"] + 1,
            "executor": task["executor"],
            "origins": origins,
            "values": _matched(returned, arguments.values(tuple(task["args"]), task["kwargs"])),
        }
        return str(arguments.app_of(task["kwargs"])), self._strict, self._told, pickle.dumps(own)

    def _record_here(self, task: Any, status: TaskStatus, error: BaseException | None, result: Any = None) -> None:
        """A try that no worker ran."""
        session = self._session
        if session is None:
            return
        facts = TaskFacts(task["func_name"], arguments.key_of(task["func_name"], task["id"]), task["try_id"] + 1)
        facts.started_us = facts.ended_us = time.time_ns() // 1_000
        facts.status = status
        facts.params = arguments.free(tuple(task["args"]), task["kwargs"])
        if error is not None:
            shim.note_error(facts, error)
        else:  # a memo hit: what it stands for is there
            app = arguments.app_of(task["kwargs"])
            facts.code_kind, facts.code_digest = app.kind, bytes.fromhex(app.code) or None
            made = self._makers.of(task.get("hashsum"))
            if made is not None:
                facts.inputs = [_memo(made, result if app.kind == "python" else None)]
            for role, file in arguments.writes(task["kwargs"]):
                found = shim.looked(session.artifacts, role, file)
                facts.outputs += [] if found is None else [found]
            if app.kind == "python":
                uri = value_uri(session.recorder.run.hex(), facts.task, facts.attempt)
                value = shim.value_record(uri, "result", result)
                facts.outputs += [] if value is None else [value]
        body = task_body(session.plan.engine, facts, session.recorder.host, session.user, self._redaction)
        session.recorder.emit(Kind.TASK, body, facts.task)

    def _problem(self, task: Any, error: Exception) -> None:
        session = self._session
        if session is not None:
            session.recorder.problem(f"task {task['id']} ({task['func_name']}): {reason_of(error)}")


def _memo(made: Made, result: Any) -> JsonObject:
    """What a memo hit takes, as an input; `result`: None where it is no artifact."""
    unhashed: JsonObject = {"uri": made.uri, "role": "memo", "state": ArtifactState.UNHASHED.value}
    found = shim.value_record(made.uri, "memo", result) or unhashed
    return found if made.task is None else found | {"origin": f"task:{made.task}"}


def _others(keepers: Sequence[Keeper]) -> Others | None:
    """The agents that they will start.

    Raises:
        ConfigError: the address of one makes no sense here.
    """
    return Others(sum(keeper.agents for keeper in keepers), *keepers[0].place()) if keepers else None


def _agents_min(nodes: int, keepers: Sequence[Keeper]) -> int:
    """How many of their agents must stay so that a majority can certify."""
    return max(0, (nodes + sum(keeper.agents for keeper in keepers)) // 2 + 1 - nodes)


def _matched(
    returned: Iterable[tuple[Any, str, str]], given: Iterable[tuple[str, Any]]
) -> dict[str, tuple[str, str]]:
    """By role: (URI, maker) of arguments that are what another task returned. Both are in the order of the call."""
    found, rest = {}, iter(given)
    for value, uri, maker in returned:
        role = next((role for role, argument in rest if argument is value), None)
        if role is not None:
            found[role] = (uri, maker)
    return found
