"""The report itself: what `scichain-wf audit` says, and outputs that Snakemake made and nobody recorded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from scichain_wf.config import CHAIN_NAME, load
from scichain_wf.errors import ScichainError
from scichain_wf.hooks.closing import shown
from scichain_wf.hooks.naming import Naming
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.store import ChainStore
from snakemake_executor_plugin_scichain.jobs import remote_uri
from snakemake_executor_plugin_scichain.saying import say

_DEFAULT = "scichain-report.html"
_NAMED = 20


def write(settings: Any, jobs: Sequence[Any]) -> None:
    """Write the report, and tell where it is and what the chain lacks.

    Args:
        settings: the plugin's.
        jobs: Snakemake's records of its jobs, from its metadata.

    Raises:
        WorkflowError: there is no chain, or the report cannot be written.
    """
    here, file = Path.cwd(), Path(getattr(settings, "path", None) or _DEFAULT)
    try:
        flags = {"chain": getattr(settings, "chain", None)}
        chain_dir = load(here, flags=flags, flag_prefix="--report-scichain-").config.chain or here / CHAIN_NAME
        unrecorded = list(_unrecorded(chain_dir, jobs))
    except ScichainError as error:
        raise WorkflowError(f"scichain: no report: {error}") from None
    command = [sys.executable, "-m", "scichain_wf", "audit", "--chain", str(chain_dir)]
    if file.suffix == ".html":
        command += ["--html", str(file)]
    elif file.suffix == ".json":
        command.append("--json")
    audited = subprocess.run(command, check=False, capture_output=True, encoding="utf-8", errors="replace")
    if not audited.stdout:
        raise WorkflowError(f"scichain: no report: {audited.stderr.strip()}")
    if file.suffix != ".html":
        try:
            file.write_text(audited.stdout, encoding="utf-8")
        except OSError as error:
            raise WorkflowError(f"scichain: no report: {file}: {error.strerror}") from None
    verdict = "" if file.suffix == ".json" else f": {audited.stdout.splitlines()[0]}"
    _say(f"report written to {file}{verdict}")
    for output in unrecorded[:_NAMED]:
        _say(f"Snakemake made {output}, and the chain has no record of it: run it again with --logger scichain")
    if len(unrecorded) > _NAMED:
        _say(f"and {len(unrecorded) - _NAMED} more outputs without a record")


def _unrecorded(chain_dir: Path, jobs: Sequence[Any]) -> Iterator[str]:
    naming = Naming([Path.cwd()])
    with ChainStore.open(ChainLayout(chain_dir).live_ledger(), readonly=True) as store, store.view() as view:
        for output in (output for job in jobs for output in job.output):
            if next(iter(view.versions(remote_uri(output) or naming.uri(str(output)))), None) is None:
                yield str(output)


def _say(line: str) -> None:
    say(f"scichain: {shown(line)}")
