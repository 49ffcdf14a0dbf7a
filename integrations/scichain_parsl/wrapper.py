"""The function that stands in an app's place.

Parsl's serialiser copies it to workers by value, together with the globals of this module: so there are none but the
import below, and everything else is in `shim`, which a worker imports by name.
"""

from functools import wraps
from typing import Any


def wrapped(inner: Any, about: dict[str, Any]) -> Any:
    """`inner` with the same name and module (they are Parsl's memo key), recorded where it runs."""

    @wraps(inner)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        try:
            from scichain_parsl.shim import call
        except ImportError:  # a worker's environment without this package
            import sys
            from contextlib import suppress

            context = kwargs.pop("_scichain", None)
            if isinstance(context, tuple):
                _, strict, *_ = context
                if strict:
                    raise
                with suppress(AttributeError, OSError, ValueError):  # none, full, closed
                    sys.stderr.write("scichain: a task is not recorded: scichain_parsl is not installed here\n")
            return inner(*args, **kwargs)
        return call(inner, about, args, kwargs)

    return recorded
