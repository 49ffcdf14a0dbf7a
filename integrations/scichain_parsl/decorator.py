"""`traced`: an app whose tasks are recorded."""

from __future__ import annotations

import hashlib
import inspect
from typing import TypeVar

from parsl.app.app import AppBase
from parsl.app.bash import BashApp

from scichain_parsl.arguments import CONTEXT, App
from scichain_parsl.wrapper import wrapped

AnyApp = TypeVar("AnyApp")


def traced(app: AnyApp) -> AnyApp:
    """Record what each task of a Parsl app reads, writes and returns.

    Args:
        app: what `@python_app`, `@bash_app` or `@join_app` made: `@traced` stands above them.

    Returns:
        The same app.

    Raises:
        TypeError: it is not an app.
    """
    if not isinstance(app, AppBase):
        found = getattr(app, "__name__", type(app).__name__)
        raise TypeError(f"@traced stands above @python_app, @bash_app or @join_app; {found} is not an app yet")
    is_bash = isinstance(app, BashApp)
    place = "wrapped_remote_function" if is_bash else "func"
    if CONTEXT in app.kwargs:
        return app  # traced already
    kind = "bash" if is_bash else "join" if getattr(app, "join", False) else "python"
    code = _code_digest(app.func)
    about = {"name": app.__name__, "kind": kind, "code": code}
    setattr(app, place, wrapped(getattr(app, place), about))
    # Every call has the keyword from the start; `memoizer` gives it a value, and it is no part of a memo key.
    app.kwargs[CONTEXT] = str(App(kind, code.hex() if code else ""))
    app.ignore_for_cache = [*(app.ignore_for_cache or ()), CONTEXT]
    return app


def _code_digest(function: object) -> bytes | None:
    """Of the source text of what the user wrote; None where there is none (a notebook's or a C function)."""
    try:
        source = inspect.getsource(inspect.unwrap(function))  # type: ignore[arg-type]
    except (OSError, TypeError):
        return None
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).digest()
