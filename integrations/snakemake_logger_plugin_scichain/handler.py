"""What the logger plugin does once it is chosen: arms the executor plugin, and closes the run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_scichain.activation import Arming, disarm
from snakemake_executor_plugin_scichain.activation import arm as arm_executor


def arm(settings: Any) -> None:
    """Take over the flags; a relative `--logger-scichain-chain` starts where the command was given.

    Raises:
        ConfigError: a flag has a value that makes no sense.
    """
    nodes = getattr(settings, "nodes", None)
    chain = getattr(settings, "chain", None)
    strict = bool(getattr(settings, "strict", False))
    from scichain_wf.config import checked_nodes

    arm_executor(
        Arming(
            nodes=None if nodes is None else checked_nodes(nodes, "--logger-scichain-nodes"),
            chain=str(Path.cwd() / Path(chain).expanduser()) if chain else None,
            strict=strict,
            launched_from=Path.cwd(),
        )
    )


def close(common: Any) -> bool:
    """End the run, if one was begun, and print its closing line; returns whether everything is on the chain."""
    run, refusal = disarm()
    if run is None:
        if refusal is not None:
            print(refusal, file=sys.stderr)  # noqa: T201
        return refusal is None
    try:
        lines = run.finish()
    except KeyboardInterrupt:
        print(  # noqa: T201
            "scichain: left before everything was committed; the records wait, and the next recorded run takes them in",
            file=sys.stderr,
        )
        raise
    if not (run.session.complete and _is_quiet(common)):
        for line in lines:
            print(line, file=sys.stderr)  # noqa: T201 - Snakemake's logger is being torn down
    return run.session.complete


def _is_quiet(common: Any) -> bool:
    """`--quiet all`: only trouble is worth a line."""
    return any(str(getattr(item, "name", item)).lower() == "all" for item in getattr(common, "quiet", None) or ())
