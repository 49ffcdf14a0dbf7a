"""`scichain_wf.hooks.saying` for a place where the library may be what is missing: a plugin that is half installed."""

import sys
from contextlib import suppress


def say(line: str) -> None:
    """Print a line on standard error, if there is any; one that is closed or full changes nothing (HOOK-1)."""
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(f"{line}\n")
