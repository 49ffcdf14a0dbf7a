"""What Snakemake knows of a job, as facts for a record. Reads only; knows every Snakemake attribute we lean on.

Some of these attributes are not promised by Snakemake's plugin interface. Each is read on its own, so that one that
moves costs one field of the record and not the record.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from scichain_wf.hooks.records import TaskFacts, task_key
from scichain_wf.model.bodies import ArtifactState

T = TypeVar("T")
_KINDS = ("shell", "script", "notebook", "wrapper", "cwl", "run")


def parts(job: Any) -> list[Any]:
    """The jobs of a group, or the job itself."""
    return list(job.jobs) if job.is_group() else [job]


def is_recorded(job: Any) -> bool:
    """Whether a job has anything to record: a rule that only collects targets has not."""
    return not (job.is_norun and not job.output)


def key_of(job: Any) -> str:
    """The task key: the rule and its wildcards."""
    return task_key(job.rule.name, {str(k): str(v) for k, v in (job.wildcards_dict or {}).items()})


def files(items: Any) -> Iterator[tuple[str, Any]]:
    """(role, file) of each input or output: its name in the rule, with an index if the name stands for several."""
    roles: dict[int, str] = {}
    for name, (start, end) in items._get_names():  # noqa: SLF001 - the only way to the names, stable for years
        if end is None:
            roles[start] = name
        else:
            roles.update((index, f"{name}[{index - start}]") for index in range(start, end))
    for index, file in enumerate(items):
        yield roles.get(index, str(index)), file


def outputs(job: Any) -> Iterator[tuple[str, Any]]:
    """(role, file) of everything a job leaves behind: outputs, then its logs and its benchmark where they are there."""
    yield from files(job.output)
    more = [(f"log:{role}", file) for role, file in files(job.log)]
    benchmark = getattr(job, "benchmark", None)
    if benchmark is not None:
        more.append(("benchmark", benchmark))
    yield from ((role, file) for role, file in more if os.path.exists(job.shadowed_path(file)))


def flagged(file: Any, flag: str) -> bool:
    """Whether the workflow marked a file (`temp`, `pipe`, ...)."""
    return bool((getattr(file, "flags", None) or {}).get(flag))


def handed_over(dag: Any, job: Any) -> set[str]:
    """Inputs that are pipes or services: they are for their producer to make and never to be opened by others."""
    producers = dag.dependencies.get(job, {}).items()
    made = (file for producer, read in producers for file in producer.output if file in read)
    return {str(file) for file in made if state_of(file) is ArtifactState.PIPE}


def is_kept_for(file: Any) -> bool:
    """Whether an output's earlier content is there for the job to go on with (`update()`)."""
    return flagged(file, "update") and os.path.lexists(file)


def is_scattered(job: Any, file: Any) -> bool:
    """Whether other jobs are going to read files in this output one by one: a checkpoint's directory."""
    return bool(job.rule.is_checkpoint) and flagged(file, "directory")


def state_of(file: Any) -> ArtifactState | None:
    """The state to record in place of what is found on disk."""
    flags = getattr(file, "flags", None)
    if not flags:  # most files
        return None
    if flags.get("pipe") or flags.get("service"):
        return ArtifactState.PIPE
    return ArtifactState.TEMPORARY if flags.get("temp") else None


def remote_uri(file: Any) -> str | None:
    """What a file in remote storage is called there, if it has a proper URI; its local copy is what gets hashed."""
    if not getattr(file, "is_storage", False):
        return None
    from scichain_wf.model.uri import check_uri

    query = str(file.storage_object.query)
    try:
        check_uri(query)
    except Exception:  # noqa: BLE001 - a query need not be a URI: then the local copy's name stands for it
        return None
    return query


def origins(dag: Any, job: Any) -> dict[str, str | None]:
    """By input: `task:<key>` of the job of this process that makes it, or None if an earlier run or another one did.

    Where the DAG is whole, what is not in here is a source. Only in the scheduler's thread: the DAG changes while a
    workflow runs.
    """
    found: dict[str, str | None] = {}
    for producer, made in dag.dependencies.get(job, {}).items():
        # After a checkpoint the DAG is made anew: what has been run by then need not run any more.
        in_this_run = (dag.needrun(producer) or dag.finished(producer)) and is_recorded(producer)
        origin = f"task:{key_of(producer)}" if in_this_run else None
        found.update((str(file), origin) for file in made)
    return found


def describe(job: Any, commands: Mapping[str, str]) -> TaskFacts:
    """Everything about a job but its files, times and fate; `commands` by task key where they are known already."""
    rule = job.rule
    facts = TaskFacts(name=rule.name, task=key_of(job), attempt=max(1, _tried(lambda: int(job.attempt), 1)))
    facts.wildcards = _tried(lambda: {str(k): str(v) for k, v in (job.wildcards_dict or {}).items()}, None)
    facts.params = _tried(lambda: _params(job.params), None)
    facts.code_kind = next((kind for kind in _KINDS if getattr(job, f"is_{kind}", False)), None)
    facts.code_digest = _tried(lambda: _code_digest(job), None)
    other = rule.wrapper or rule.cwl or rule.script or rule.notebook
    facts.command = commands.get(facts.task) or _tried(lambda: job.shellcmd, None) or _text(other)
    _tried(lambda: _add_environment(facts, job), None)
    facts.threads = _tried(lambda: int(job.threads), None)
    return facts


def exit_status(error: BaseException | None) -> int | None:
    """The exit status behind a failure, found along the chain of exceptions."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, subprocess.CalledProcessError):
            return int(error.returncode)
        error = error.__cause__ or error.__context__
    return None


def _params(params: Any) -> Any:
    items = list(params._allitems())  # noqa: SLF001 - as in `files`
    named = {str(name): value for name, value in items if name is not None}
    rest = [value for name, value in items if name is None]
    return [*rest, named] if rest and named else named or rest or None


def _add_environment(facts: TaskFacts, job: Any) -> None:
    """Only what Snakemake was told to use: a rule may name more."""
    used = {method.name for method in job.rule.workflow.deployment_settings.deployment_method}
    if "ENV_MODULES" in used and job.env_modules:
        facts.modules = [str(name) for name in job.env_modules.names]
    if "APPTAINER" in used and job.container_img:
        facts.container = str(job.container_img_url)
    if "CONDA" in used and job.conda_env:
        facts.conda_digest = hashlib.sha256(job.conda_env.content).digest()


def _code_digest(job: Any) -> bytes | None:
    """Of what the rule's author wrote: the command template, the `run:` block, or the content of the file it names."""
    rule = job.rule
    source = rule.script or rule.notebook or rule.cwl
    path = None if source is None else job._path_to_source_file(source)  # noqa: SLF001
    if rule.cwl is not None and path is not None and not os.path.isabs(path.get_path_or_uri(secret_free=True)):
        path = None  # on the network: cwltool reads it there itself, once more would be another reading
    if rule.wrapper is not None:
        from snakemake import wrapper

        prefix = rule.workflow.workflow_settings.wrapper_prefix
        path = wrapper.get_script(rule.wrapper, rule.workflow.sourcecache, prefix)
    if path is not None:
        with rule.workflow.sourcecache.open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    text = rule.shellcmd or (rule.run_func_src if job.is_run else None) or rule.cwl
    return hashlib.sha256(str(text).encode("utf-8", "surrogateescape")).digest() if text else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _tried(read: Callable[[], T], otherwise: T) -> T:
    try:
        return read()
    except Exception:  # noqa: BLE001 - an attribute that moved, or a workflow's own function that fails
        return otherwise
