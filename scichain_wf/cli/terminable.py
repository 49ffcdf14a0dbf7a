"""SIGTERM, by which batch systems end a job, taken for Ctrl-C: what was begun is tidied up."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_AGAIN_S: Final = 0.01


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
        threading.Timer(_AGAIN_S, _thread.interrupt_main).start()  # when the finalizer is left
    else:
        sys.__unraisablehook__(dropped)
