"""What the logger plugin does once it is chosen: arms the executor plugin, and closes the run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_scichain.activation import Arming, disarm
from snakemake_executor_plugin_scichain.activation import arm as arm_executor


def arm(settings: Any) -> None:
    """Take over the flags; a relative `--logger-scichain-chain` starts where the command was given."""
    here, chain = Path.cwd(), getattr(settings, "chain", None)
    flags = {
        "nodes": getattr(settings, "nodes", None),
        "chain": str(here / Path(chain).expanduser()) if chain else chain,
        "strict": getattr(settings, "strict", False) or None,  # a flag that is not given decides nothing
    }
    arm_executor(Arming(flags, "--logger-scichain-", here))


def close(common: Any) -> bool:
    """End the run, if one was begun, and print its closing line; False if strict, and not all of it is on the chain."""
    run, refusal, strict = disarm()
    if run is None:
        if refusal is not None:
            print(refusal, file=sys.stderr)  # noqa: T201
        return refusal is None or not strict
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
    return run.session.complete or not strict


def _is_quiet(common: Any) -> bool:
    """`--quiet all`: only trouble is worth a line."""
    return any(str(getattr(item, "name", item)).lower() == "all" for item in getattr(common, "quiet", None) or ())
