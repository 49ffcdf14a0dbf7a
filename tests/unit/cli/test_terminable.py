"""What ends a command ends it, whatever it was just doing."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress

import pytest

from scichain_wf.cli.terminable import terminable

WAIT_S = 600.0
"""Longer than a test may take."""


class Interrupted:
    """Ctrl-C while it is finalized."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


class Broken:
    def __del__(self) -> None:
        raise RuntimeError("of no importance")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_python_drops_comes_again(number: signal.Signals) -> None:
    passed = False
    with pytest.raises(KeyboardInterrupt), terminable():
        with suppress(AttributeError):
            Interrupted(number)
        passed = True
        time.sleep(WAIT_S)
    assert passed


def test_other_errors_in_finalizers_are_reported_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.unraisablehook
    with terminable():
        Broken()
    assert sys.unraisablehook is before
    assert "RuntimeError: of no importance" in capsys.readouterr().err
