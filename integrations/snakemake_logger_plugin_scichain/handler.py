"""What the logger plugin does once it is chosen: arms the executor plugin, and closes the run."""

from __future__ import annotations

import signal
import sys
from dataclasses import fields
from functools import partial
from logging.handlers import QueueHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scichain_wf.config.settings import BY_NAME
from scichain_wf.errors import SubmissionError
from snakemake_executor_plugin_scichain.activation import Arming, disarm
from snakemake_executor_plugin_scichain.activation import arm as arm_executor
from snakemake_executor_plugin_scichain.saying import say
from snakemake_executor_plugin_scichain.tally import Tally

if TYPE_CHECKING:
    from snakemake_executor_plugin_scichain.run import MainRun


def arm(handler: Any) -> Tally:
    """Take over the flags; a relative path in one of them starts where the command was given. Returns who listens."""
    here, settings = Path.cwd(), handler.settings
    flags = {field.name: getattr(settings, field.name) for field in fields(settings) if field.name in BY_NAME}
    flags["strict"] = flags["strict"] or None  # a flag that is not given decides nothing
    for name in ("chain", "author_key"):
        if flags[name]:
            flags[name] = str(here / Path(flags[name]).expanduser())
    for name in ("size_mtime_patterns", "redact"):
        if flags[name] is not None:
            flags[name] = BY_NAME[name].of_text(flags[name])
    tally = Tally()
    listen, end = partial(_listen, handler), partial(_end_former, handler.common_settings, tally)
    arm_executor(Arming(flags, "--logger-scichain-", here, tally.commands, listen, end))
    return tally


def _end_former(common: Any, tally: Tally, run: MainRun) -> None:
    """End a run before the next workflow of the same `SnakemakeApi` begins.

    Raises:
        SubmissionError: strict, and not all of it is on the chain.
    """
    if not _end(common, tally, run) and run.recording.is_strict:
        raise SubmissionError("what ran before in this process is not all on the chain")
    tally.clear()


def _listen(handler: Any, manager: Any) -> None:
    """Hear records where they are made: Snakemake's queue for plugins copies, formats and hands over each of them.

    Not if another plugin needs the queue. To be called while no other thread logs.
    """
    if manager.plugin_handlers == [handler]:
        logger = manager.logger
        logger.addHandler(handler)
        for queue in [other for other in logger.handlers if isinstance(other, QueueHandler)]:
            logger.removeHandler(queue)


def close(common: Any, tally: Tally) -> bool:
    """End the run, if one was begun, and print its closing line; False if strict, and not all of it is on the chain."""
    run, refusal, strict = disarm()
    if run is None:
        if refusal is not None:
            say(refusal)
        return refusal is None or not strict
    return _end(common, tally, run) or not strict


def _end(common: Any, tally: Tally, run: MainRun) -> bool:
    """End a run and say what there is to say; whether all of it is on the chain."""
    try:
        lines = run.finish(tally)
    except KeyboardInterrupt:
        say("scichain: left before everything was committed; the records wait, and the next recorded run takes them in")
        sys.exit(128 + signal.SIGINT)  # as a shell says it; nobody needs to see where we were
    if not (run.session.complete and _is_quiet(common)):
        for line in lines:
            say(line)
    return run.session.complete


def _is_quiet(common: Any) -> bool:
    """`--quiet all`: only trouble is worth a line."""
    return any(str(getattr(item, "name", item)).lower() == "all" for item in getattr(common, "quiet", None) or ())
