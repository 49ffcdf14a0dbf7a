"""SIGTERM, by which batch systems end a job, taken for Ctrl-C: what was begun is tidied up."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_AGAIN_S: Final = 0.05


@contextmanager
def terminable() -> Iterator[None]:
    """While this lasts, SIGTERM raises `KeyboardInterrupt`, and one that Python had to drop is raised again.

    Python drops an exception that comes while it finalizes an object or ends an import.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    hook, sys.unraisablehook = sys.unraisablehook, _once_more
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _once_more(dropped: UnraisableHookArgs) -> None:
    if dropped.exc_type is KeyboardInterrupt:
        _thread.start_new_thread(_later, ())  # not `threading`'s, whose start waits and would be what is interrupted
    else:
        sys.__unraisablehook__(dropped)


def _later() -> None:
    time.sleep(_AGAIN_S)  # until the finalizer is left
    os.kill(os.getpid(), signal.SIGTERM)  # a real one, which ends waiting, too
