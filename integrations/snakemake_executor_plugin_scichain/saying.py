"""What the user is told, past Snakemake's logger: that one may be broken, being set up or torn down."""

import sys
from contextlib import suppress


def say(line: str) -> None:
    """Print a line on standard error, if there is any; one that is closed or full changes nothing (HOOK-1)."""
    if sys.stderr is not None:  # `print` would take standard output instead
        with suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - meant for the person at the terminal
