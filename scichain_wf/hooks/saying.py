"""What the person at the terminal is told, past an engine's logger: that one may be broken or just being set up."""

import sys
from contextlib import suppress


def say(line: str) -> None:
    """Print a line on standard error, if there is any; one that is closed or full changes nothing (HOOK-1)."""
    if sys.stderr is not None:  # `print` would take standard output instead
        with suppress(OSError, ValueError, AttributeError):  # `AttributeError`: a workflow may put anything there
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - meant for the person at the terminal
