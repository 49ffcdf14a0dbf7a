"""Log lines: one JSON object each on standard error. Never a key, a token or a transaction's content."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Final

_TEXT_CHARS_MAX: Final = 2_000


class Log:
    """Writes for one process, named in every line."""

    def __init__(self, name: str) -> None:
        self._name = name

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
        line = {
            "time_us": time.time_ns() // 1_000,
            "level": level,
            "process": self._name,
            "pid": os.getpid(),
            "event": event[:_TEXT_CHARS_MAX],
        }
        # One write per line: the processes of a run share the file.
        text = json.dumps(line | {key: str(value)[:_TEXT_CHARS_MAX] for key, value in fields.items()}) + "\n"
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            return  # nowhere to say it: the log's disk is full or its reader is gone
