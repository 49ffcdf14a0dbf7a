"""What is said reaches standard error or nothing, and never stops anybody."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from scichain_wf.hooks.saying import say


def test_a_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    say("scichain: a line")
    assert capsys.readouterr() == ("", "scichain: a line\n")


def test_what_takes_no_line_changes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec: HOOK-1."""
    gone = io.StringIO()
    gone.close()
    with Path("/dev/full").open("wb", buffering=0) as device:
        full = io.TextIOWrapper(device, write_through=True)
        for stream in (None, gone, full, object()):
            monkeypatch.setattr("sys.stderr", stream)
            say("scichain: a line")
        monkeypatch.undo()
        with pytest.raises(OSError, match="No space left"):
            full.write("this is why")
        full.detach()
    assert capsys.readouterr() == ("", "")
