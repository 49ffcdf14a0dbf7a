"""Numbers in the text of an option: digits as people write them, within bounds, and nothing else that Python takes."""

from __future__ import annotations

import re
from typing import Final

from scichain_wf.errors import ConfigError

_WHOLE: Final = re.compile(r"-?[0-9]{1,16}", re.ASCII)
_NUMBER: Final = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_CHARS_MAX: Final = 40
"""A longer number is cut in messages, and is none."""


def quoted(text: str) -> str:
    """`text` in quotes, cut where it is long."""
    return repr(text if len(text) <= _CHARS_MAX else text[:_CHARS_MAX] + "…")


def whole(text: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`.

    Raises:
        ConfigError: it is none; says what is allowed.
    """
    if _WHOLE.fullmatch(text) and low <= int(text) <= high:
        return int(text)
    raise ConfigError(f"{quoted(text)} is not a whole number from {low:,} to {high:,}")


def number(text: str, low: float, high: float) -> float:
    """A number from `low` to `high`, such as `2`, `0.5` or `1e-05`.

    Raises:
        ConfigError: it is none; says what is allowed.
    """
    if len(text) <= _CHARS_MAX and _NUMBER.fullmatch(text) and low <= float(text) <= high:
        return float(text)
    raise ConfigError(f"{quoted(text)} is not a number from {low:,.10g} to {high:,.10g}")
