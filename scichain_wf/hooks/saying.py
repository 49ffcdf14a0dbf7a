"""What the person at the terminal is told, past an engine's logger: that one may be broken or just being set up."""

import sys
from contextlib import suppress


def say(line: str) -> None:
    """Print a line on standard error, if there is any; one that is closed or full changes nothing (HOOK-1)."""
    with suppress(AttributeError, OSError, ValueError):  # `print` would take standard output where there is none
        sys.stderr.write(f"{line}\n")
