"""A broken promise, as a checker of the simulator reports it."""

from __future__ import annotations

from typing import ClassVar

from scichain_wf.errors import EXIT_INTEGRITY, ScichainError


class Violation(ScichainError):
    """The promise `tag` (30-post, Invariants) was broken in a simulated run: this program is wrong."""

    exit_code: ClassVar[int] = EXIT_INTEGRITY

    def __init__(self, tag: str, message: str) -> None:
        super().__init__(f"{tag}: {message}")
        self.tag = tag
        self.message = message
