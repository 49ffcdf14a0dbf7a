"""What the tests of commands share: calling one in process, and what it said."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from scichain_wf.cli import run


@dataclass(frozen=True)
class Said:
    """What a command returned and printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Say = Callable[..., Said]


def caller(capfd: pytest.CaptureFixture[str]) -> Say:
    """Runs a command in this process."""

    def call(*arguments: str) -> Said:
        code = run(arguments)
        sys.stdout.flush()
        captured = capfd.readouterr()
        return Said(code, captured.out, captured.err)

    return call
