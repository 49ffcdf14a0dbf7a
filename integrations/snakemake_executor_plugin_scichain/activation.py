"""When a Snakemake process records, and where to.

    main process      the logger plugin arms; the first executor that is made for jobs to run starts the run
    inner process     (`--mode remote`, on any node) joins the run whose id is in its environment
    `run:` subprocess nothing: its parent records the job

Nothing is started for a dry-run, for an up-to-date workflow, or for `--unlock`, `--summary` and their like: none of
them makes an executor with jobs. `--touch` makes one that runs nothing: what it touched is recorded as touched. State
is per process, and `disarm` puts everything back.
"""

from __future__ import annotations

import os
import re
import types
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from snakemake_executor_plugin_scichain.saying import say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scichain_wf.config import Loaded
    from snakemake_executor_plugin_scichain.recording import JobRecording
    from snakemake_executor_plugin_scichain.run import MainRun

SNAKEMAKE_MIN, SNAKEMAKE_BELOW = (9, 27), (10,)
"""Versions whose inner interfaces we know."""
_HANDED_OVER = ("strict", "ack", "hash_policy", "size_mtime_patterns", "size_mtime_above_mib", "redact")


@dataclass(frozen=True)
class Arming:
    """What the command line asked for; a flag that is None leaves the choice to configuration or default."""

    flags: Mapping[str, object] = field(default_factory=dict)
    flag_prefix: str = "--"
    launched_from: Path | None = None
    commands: Mapping[str, str] = field(default_factory=dict)
    """By task key: commands that Snakemake has formatted already."""
    listen: Callable[[Any], None] | None = None
    """Takes the log's manager, to hear of jobs before they run; if it fails, they are heard of later."""
    end: Callable[[MainRun], None] | None = None
    """Ends a run that another workflow of the same `SnakemakeApi` follows."""


class _State:
    """Of this process."""

    arming: Arming | None = None
    strict = False
    run: MainRun | None = None
    refusal: str | None = None
    """Why the run is not recorded."""
    environment: ClassVar[dict[str, str | None]] = {}
    """What was in the variables that were set for inner processes."""
    replaced: ClassVar[dict[str, Any]] = {}
    """The executor plugins that ours stand in for, by name."""


def arm(arming: Arming) -> None:
    """Record the run that this process is going to make.

    Raises:
        Exception: this Snakemake is not made as expected; the caller says so and goes on.
    """
    _State.arming = arming
    _State.strict = bool(arming.flags.get("strict"))
    replace_local()
    from snakemake_executor_plugin_scichain import touching

    _replace("touch", touching.Executor, touching.common_settings)


def disarm() -> tuple[MainRun | None, str | None, bool]:
    """Put Snakemake's own executor back; returns the run, or a line that says why none was recorded, and `strict`."""
    run, refusal, strict = _State.run, _State.refusal, _State.strict
    _State.run = _State.refusal = _State.arming = None
    _State.strict = False
    if _State.replaced:
        from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

        ExecutorPluginRegistry().plugins.update(_State.replaced)
        _State.replaced.clear()
    os.environ.update({name: value for name, value in _State.environment.items() if value is not None})
    for name in (name for name, value in _State.environment.items() if value is None):
        os.environ.pop(name, None)
    _State.environment.clear()
    return run, refusal, strict


def replace_local() -> None:
    """Let every use of the executor `local` (local rules, inner processes of any executor) record."""
    import snakemake_executor_plugin_scichain as ours

    _replace("local", ours.Executor, ours.common_settings)


def _replace(name: str, executor: Any, common_settings: Any) -> None:
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    registry = ExecutorPluginRegistry()
    shim = types.ModuleType(f"snakemake_executor_plugin_scichain_{name}")
    shim.__dict__.update(Executor=executor, common_settings=common_settings)
    found = registry.plugins.pop(name, None)  # in an inner process Snakemake's own ones are not registered yet
    if found is not None:
        _State.replaced.setdefault(name, found)
    registry.register_plugin(name, shim)


def attach(executor: Any) -> JobRecording | None:
    """What the jobs of a new executor are told to; None if they are not recorded.

    Raises:
        WorkflowError: recording is impossible and `strict` asked for it.
    """
    try:
        return _attach(executor.workflow)
    except Exception as error:  # noqa: BLE001 - whatever it is, the workflow runs on unrecorded (HOOK-1)
        line = _not_recorded(error)
        if _State.strict:
            from snakemake_interface_common.exceptions import WorkflowError

            raise WorkflowError(f"{line} (strict mode: nothing was run)") from None
        _State.refusal = line  # said again at the end: by then this one has scrolled away
        say(line)
        return None


def _not_recorded(error: Exception) -> str:
    reason = str(error) or type(error).__name__
    try:
        from scichain_wf.hooks.closing import not_recorded_line
    except ImportError:  # the library is what is broken
        return f"scichain: this run is not recorded: {reason}: pip install --force-reinstall 'scichain-wf[snakemake]'"
    return not_recorded_line(reason)


def _attach(workflow: Any) -> JobRecording | None:
    from snakemake_interface_executor_plugins.settings import ExecMode

    mode = workflow.exec_mode
    if mode == ExecMode.SUBPROCESS:
        return None
    if mode == ExecMode.REMOTE:
        return _join(workflow, os.environ)
    if _State.run is not None and _State.run.is_of(workflow):  # a second executor: `local` beside a cluster
        return _State.run.recording
    by_name = getattr(getattr(workflow, "executor_plugin", None), "name", None) == "scichain"
    if len(workflow.dag) == 0 or (_State.arming is None and not by_name):
        return None
    from scichain_wf.hooks.join import CHAIN_VARIABLE, ROOT_VARIABLE, RUN_VARIABLE
    from snakemake_executor_plugin_scichain.run import MainRun

    here, arming = Path.cwd(), _State.arming or Arming()
    former, _State.run = _State.run, None
    if former is not None and arming.end is not None:
        arming.end(former)
    loaded = _configured(here, arming)
    config = loaded.config
    check_supported()
    run = MainRun.start(workflow, config, arming.launched_from or here, closes_itself=_State.arming is None)
    _State.run = run
    run.recording.commands = arming.commands
    if arming.listen is not None:
        with suppress(AttributeError):  # what Snakemake does not promise
            arming.listen(workflow.logger_manager)
    if not workflow.local_exec:
        variables = {
            RUN_VARIABLE: run.session.recorder.run.hex(),
            CHAIN_VARIABLE: str(run.session.plan.chain_dir),
            ROOT_VARIABLE: run.session.naming.roots[0].handed_over(),
            **_settings_of_this_process(loaded),
        }
        for name in variables:
            _State.environment.setdefault(name, os.environ.get(name))
        os.environ.update(variables)
        workflow.register_envvars(*variables)
    return run.recording


def _configured(here: Path, arming: Arming) -> Loaded:
    """The settings; whether `strict` is asked for is known from here on, even if something else in them is wrong.

    Raises:
        ConfigError: a setting is not as expected.
    """
    from scichain_wf.config import load, wants_strict
    from scichain_wf.errors import ConfigError

    try:
        loaded = load(here, flags=arming.flags, flag_prefix=arming.flag_prefix)
    except ConfigError:
        _State.strict = wants_strict(here, flags=arming.flags)
        raise
    _State.strict = loaded.config.strict
    return loaded


def _settings_of_this_process(loaded: Loaded) -> dict[str, str]:
    """Variables with the settings that an inner process finds in no file: it gets neither flags nor environment."""
    found = {}
    for name in _HANDED_OVER:
        value = getattr(loaded.config, name)
        if loaded.origins[name].startswith(("-", "$")) and value is not None:
            found[f"SCICHAIN_{name.upper()}"] = ",".join(value) if isinstance(value, tuple) else str(value)
    return found


def check_supported() -> None:
    """Whether this Snakemake is one whose inner interfaces we know.

    Raises:
        ConfigError: it is not; the message says which are.
    """
    from snakemake import __version__

    from scichain_wf.errors import ConfigError

    found = tuple(int(part) for part in re.findall(r"[0-9]+", str(__version__))[:2])
    if not SNAKEMAKE_MIN <= found < SNAKEMAKE_BELOW:
        least, below = (".".join(map(str, version)) for version in (SNAKEMAKE_MIN, SNAKEMAKE_BELOW))
        raise ConfigError(
            f"Snakemake {__version__} is not supported by this scichain-wf, which records {least} and newer, below "
            f"{below}: install another Snakemake or scichain-wf, and run again what shall be recorded"
        )


def _join(workflow: Any, environment: Mapping[str, str]) -> JobRecording | None:
    """Take part in the run of an outer process, from whatever host this is."""
    from scichain_wf.hooks.join import CHAIN_VARIABLE, ROOT_VARIABLE, RUN_VARIABLE, join_run

    run, chain_dir = environment.get(RUN_VARIABLE), environment.get(CHAIN_VARIABLE)
    if not run or not chain_dir:
        return None
    from scichain_wf.hooks.digests import Hashing
    from scichain_wf.hooks.redaction import Redaction
    from snakemake_executor_plugin_scichain.recording import JobRecording, Setting
    from snakemake_executor_plugin_scichain.run import engine

    here = Path.cwd()
    config = _configured(here, Arming()).config
    root = environment.get(ROOT_VARIABLE, "")
    hashing = Hashing.configured(config)
    delivery = config.ack, config.burst_buffer
    recorder, artifacts, user = join_run(bytes.fromhex(run), Path(chain_dir), here, hashing, root, *delivery)
    setting = Setting(engine(), recorder, artifacts, user, config.strict, Redaction(config.redact))
    return JobRecording(setting, workflow.dag, submission=int(workflow.attempt))
