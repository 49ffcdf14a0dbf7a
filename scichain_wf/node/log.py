"""Log lines: one JSON object each on standard error. Never a key, a token or a transaction's content.

    {"time_us": ..., "level": "info" | "warning" | "error", "process": "slot-3", "pid": ..., "event": ..., ...}

Other fields are texts that belong to the event. A failure that repeats itself does not fill a disk: of one kind of
event a process writes LOG_LINES_MAX lines within LOG_WINDOW_S, and `left_out` in a later one counts the others; and the
log of a chain is moved aside, one generation, when it has more than LOG_BYTES_MAX.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scichain_wf import limits

_TEXT_CHARS_MAX: Final = 2_000
_CHAINS_LOG: Final = ("run", "storage.log")
"""Where the log of a chain lies in its directory; any other file on standard error is somebody else's."""


@dataclass(slots=True)
class _Seen:
    """One kind of event within the window."""

    until_s: float
    lines: int = 0
    left_out: int = 0


class Log:
    """Writes for one process.

    Attributes:
        name: of the process, in every line.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._seen: dict[str, _Seen] = {}

    def info(self, event: str, **fields: object) -> None:
        """Something happened as it should."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something happened that an operator should know of; nothing is lost."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something does not work."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        event = event[:_TEXT_CHARS_MAX]
        left_out = self._left_out(event)
        if left_out is None:
            return
        if left_out:
            fields = fields | {"left_out": left_out}
        line = {
            "time_us": time.time_ns() // 1_000,
            "level": level,
            "process": self.name,
            "pid": os.getpid(),
            "event": event,
        }
        # One write per line: the processes of a run share the file.
        text = json.dumps(line | {key: str(value)[:_TEXT_CHARS_MAX] for key, value in fields.items()}) + "\n"
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
            _keep_short(sys.stderr.fileno())
        except (OSError, ValueError):
            return  # nowhere to say it: the log's disk is full or its reader is gone

    def _left_out(self, event: str) -> int | None:
        """How many lines of this kind were left out before this one; None if this one is, too."""
        now = time.monotonic()
        seen = self._seen.get(event)
        if seen is None or now >= seen.until_s:
            before = 0 if seen is None else seen.left_out
            if len(self._seen) >= limits.LOG_EVENTS_MAX:
                self._seen.clear()
            self._seen[event] = _Seen(now + limits.LOG_WINDOW_S, lines=1)
            return before
        if seen.lines >= limits.LOG_LINES_MAX:
            seen.left_out += 1
            return None
        seen.lines += 1
        return 0


def _keep_short(descriptor: int) -> None:
    """Move a chain's log aside if it is too long. Every process has it open to append, so its file stays the same."""
    status = os.fstat(descriptor)
    if status.st_size <= limits.LOG_BYTES_MAX or not stat.S_ISREG(status.st_mode):
        return
    path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    if path.parts[-2:] != _CHAINS_LOG:
        return
    with path.open("rb") as file:
        with suppress(OSError):  # a file system without locks: at worst two of them do it
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_size <= limits.LOG_BYTES_MAX:
            return  # another process has done it
        try:
            shutil.copyfile(path, path.with_suffix(".log.1"))
        finally:
            os.ftruncate(descriptor, 0)
