"""When a Snakemake process records, and where to.

    main process      the logger plugin arms; the first executor that is made for jobs to run starts the run
    inner process     (`--mode remote`, on any node) joins the run whose id is in its environment
    `run:` subprocess nothing: its parent records the job

Nothing is started for a dry-run, for an up-to-date workflow, or for `--unlock`, `--summary` and their like: none of
them makes an executor with jobs. State is per process, and `disarm` puts everything back.
"""

from __future__ import annotations

import os
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snakemake_executor_plugin_scichain.recording import JobRecording
    from snakemake_executor_plugin_scichain.run import MainRun

RUN_VARIABLE = "SCICHAIN_RUN_ID"
CHAIN_VARIABLE = "SCICHAIN_RUN_CHAIN"
ROOT_VARIABLE = "SCICHAIN_RUN_ROOT"


@dataclass(frozen=True)
class Arming:
    """What the command line asked for; a flag that is None leaves the choice to configuration or default."""

    flags: Mapping[str, object] = field(default_factory=dict)
    flag_prefix: str = "--"
    launched_from: Path | None = None


class _State:
    """Of this process."""

    arming: Arming | None = None
    strict = False
    run: MainRun | None = None
    refusal: str | None = None
    """Why the run is not recorded."""
    local: Any = None
    """The executor plugin that ours stands in for."""


def arm(arming: Arming) -> None:
    """Record the run that this process is going to make.

    Raises:
        Exception: this Snakemake is not made as expected; the caller says so and goes on.
    """
    _State.arming = arming
    _State.strict = bool(arming.flags.get("strict"))
    replace_local()


def disarm() -> tuple[MainRun | None, str | None, bool]:
    """Put Snakemake's own executor back; returns the run, or a line that says why none was recorded, and `strict`."""
    run, refusal, strict = _State.run, _State.refusal, _State.strict
    _State.run = _State.refusal = _State.arming = None
    _State.strict = False
    if _State.local is not None:
        from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

        ExecutorPluginRegistry().plugins["local"] = _State.local
        _State.local = None
    if run is not None:
        for variable in (RUN_VARIABLE, CHAIN_VARIABLE, ROOT_VARIABLE):
            os.environ.pop(variable, None)
    return run, refusal, strict


def replace_local() -> None:
    """Let every use of the executor `local` (local rules, inner processes of any executor) record."""
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    import snakemake_executor_plugin_scichain as ours

    registry = ExecutorPluginRegistry()
    shim = types.ModuleType("snakemake_executor_plugin_scichain_local")
    shim.__dict__.update(Executor=ours.Executor, common_settings=ours.common_settings)
    if _State.local is None:
        _State.local = registry.plugins.get("local")
    registry.plugins.pop("local", None)
    registry.register_plugin("local", shim)


def attach(executor: Any) -> JobRecording | None:
    """What the jobs of a new executor are told to; None if they are not recorded.

    Raises:
        WorkflowError: recording is impossible and `strict` asked for it.
    """
    try:
        return _attach(executor.workflow)
    except Exception as error:  # noqa: BLE001 - whatever it is, the workflow runs on unrecorded (HOOK-1)
        from scichain_wf.hooks.closing import not_recorded_line

        line = not_recorded_line(str(error) or type(error).__name__)
        if _State.strict:
            from snakemake_interface_common.exceptions import WorkflowError

            raise WorkflowError(f"{line} (strict mode: nothing was run)") from None
        _State.refusal = line  # said again at the end: by then this one has scrolled away
        print(line, file=sys.stderr)  # noqa: T201 - Snakemake's logger may be what is broken
        return None


def _attach(workflow: Any) -> JobRecording | None:
    from snakemake_interface_executor_plugins.settings import ExecMode

    mode = workflow.exec_mode
    if mode == ExecMode.SUBPROCESS:
        return None
    if mode == ExecMode.REMOTE:
        return _join(os.environ)
    if _State.run is not None:  # a second executor of one run: `local` beside a cluster
        return _State.run.recording
    by_name = getattr(getattr(workflow, "executor_plugin", None), "name", None) == "scichain"
    if len(workflow.dag) == 0 or (_State.arming is None and not by_name):
        return None
    from scichain_wf.config import load_config
    from snakemake_executor_plugin_scichain.run import MainRun

    here, arming = Path.cwd(), _State.arming or Arming()
    config = load_config(here, flags=arming.flags, flag_prefix=arming.flag_prefix)
    _State.strict = config.strict
    run = MainRun.start(workflow, config, arming.launched_from or here, closes_itself=_State.arming is None)
    _State.run = run
    if not workflow.local_exec:
        os.environ[RUN_VARIABLE] = run.session.recorder.run.hex()
        os.environ[CHAIN_VARIABLE] = str(run.session.plan.chain_dir)
        os.environ[ROOT_VARIABLE] = run.session.naming.roots[0].handed_over()
        workflow.register_envvars(RUN_VARIABLE, CHAIN_VARIABLE, ROOT_VARIABLE)
    return run.recording


def _join(environment: Mapping[str, str]) -> JobRecording | None:
    """Take part in the run of an outer process, from whatever host this is."""
    run, chain_dir = environment.get(RUN_VARIABLE), environment.get(CHAIN_VARIABLE)
    if not run or not chain_dir:
        return None
    from scichain_wf.config import load_config
    from scichain_wf.hooks.digests import HashPolicy
    from scichain_wf.hooks.join import join_run
    from scichain_wf.hooks.redaction import Redaction
    from snakemake_executor_plugin_scichain.recording import JobRecording
    from snakemake_executor_plugin_scichain.run import engine

    here = Path.cwd()
    config = load_config(here)
    policy, root = HashPolicy(config.hash_policy), environment.get(ROOT_VARIABLE, "")
    recorder, artifacts, user = join_run(bytes.fromhex(run), Path(chain_dir), here, policy, root)
    redaction = Redaction(config.redact)
    return JobRecording(engine(), recorder, artifacts, user, dag=None, strict=False, redaction=redaction)
