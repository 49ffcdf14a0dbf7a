"""Elements of HTML and SVG. Text is hostile: what is not `Html` is escaped, control characters are shown as such."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from scichain_wf.audit.result import printable

_VOID: Final = frozenset({"br", "hr", "input", "meta", "col", "rect", "path", "line", "circle"})
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


class Html(str):
    """Markup made here; any other text is escaped where it is put into an element."""

    __slots__ = ()


def text(value: object) -> Html:
    """A value as text."""
    return value if isinstance(value, Html) else Html(escape(printable(str(value))))


def el(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. `cls` is `class`, `_` in names is `-`; an attribute that is None is left out."""
    spelled = "".join(
        f' {"class" if key == "cls" else key.strip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not children:
        return Html(f"<{name}{spelled}>" if name in ("br", "hr", "input", "meta", "col") else f"<{name}{spelled}/>")
    return Html(f"<{name}{spelled}>{''.join(map(text, children))}</{name}>")


def join(parts: Iterable[object]) -> Html:
    """Several pieces, one after the other."""
    return Html("".join(map(text, parts)))


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], caption: str, numbers: Iterable[int] = ()) -> Html:
    """A table that scrolls by itself where it is wider than the page; columns of `numbers` are set right."""
    right = frozenset(numbers)
    head = join(el("th", name, scope="col", cls="n" if at in right else None) for at, name in enumerate(headings))
    body = join(
        el("tr", *(el("td", cell, cls="n" if at in right else None) for at, cell in enumerate(row))) for row in rows
    )
    inside = el("table", el("caption", caption), el("thead", el("tr", head)), el("tbody", body))
    return scrolled(inside, caption)


def scrolled(inside: Html, label: str, cls: str = "scroll") -> Html:
    """A region that scrolls sideways and can be reached by keyboard."""
    return el("div", inside, cls=cls, role="region", aria_label=label, tabindex="0")


def facts(pairs: Iterable[tuple[str, object]]) -> Html:
    """Names and values; what is empty is left out."""
    return el("dl", *(el("div", el("dt", name), el("dd", value)) for name, value in pairs if value not in ("", None)))


def code(value: object) -> Html:
    """A digest, a path, a command."""
    return el("code", value)


def when(time_us: int | None) -> str:
    """A recorded time, UTC."""
    if time_us is None:
        return ""
    try:
        return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{time_us} µs"


def lasting(seconds: float, like: float | None = None) -> str:
    """A span of time in the unit that reads best, for it or for another span that it stands beside."""
    measure = seconds if like is None else like
    for size, unit in _UNITS:
        if measure >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    if measure >= 1:
        return f"{seconds:.1f} s"
    return f"{1e3 * seconds:.1f} ms" if measure >= 1e-3 else f"{1e6 * seconds:.0f} µs"


def count(number: int) -> str:
    """A count, its thousands apart."""
    return f"{number:,}"
