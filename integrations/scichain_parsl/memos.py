"""Whose result a memo hit returns. Parsl's checkpoints do not say it, so a file beside each of them does.

A line per task: Parsl's key of it, the URI of what it returned, and the digest of the code it ran, or `-`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from scichain_wf.model.uri import is_uri

logger = logging.getLogger("parsl.scichain.memos")
NAME: Final = "made-by"


class Made(NamedTuple):
    """A result that may be returned again.

    Attributes:
        uri: `value:<run>/<task>/<try>`.
        code: SHA-256 of what was run, in hex; empty if it is not known.
        task: its key, if it is of this run.
    """

    uri: str
    code: str
    task: str | None = None


class Makers:
    """Who made which result, by Parsl's key of a task. Safe in threads; what cannot be kept is logged, never raised.

    Args:
        directories: checkpoints of earlier runs.
        own: that of this run; None: it has none.
    """

    def __init__(self, directories: Iterable[str], own: Path | None) -> None:
        self._known: dict[str, Made] = {}
        self._own, self._lock = own, threading.Lock()
        for directory in directories:
            self._load(Path(directory) / NAME)

    def of(self, memo: str | None) -> Made | None:
        """Who made this one; None if nobody that was recorded."""
        return self._known.get(memo) if memo else None

    def keep(self, memo: str, made: Made) -> None:
        """For this run, and for those that take from its checkpoint."""
        with self._lock:
            self._known[memo] = made
            if self._own is not None:
                try:
                    self._own.mkdir(parents=True, exist_ok=True)
                    with (self._own / NAME).open("a", encoding="ascii") as file:
                        file.write(f"{memo} {made.uri} {made.code or '-'}\n")
                except OSError as error:
                    logger.warning("Later runs will not know who made their memo hits: %s", error)

    def _load(self, path: Path) -> None:
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return  # that run was not recorded
        except (OSError, ValueError) as error:
            logger.warning("%s is not read: %s", path, error)
            return
        for line in lines:
            memo, uri, code = [*line.split(" "), "", "", ""][:3]
            if uri.startswith("value:") and is_uri(uri):
                self._known[memo] = Made(uri, "" if code == "-" else code)
