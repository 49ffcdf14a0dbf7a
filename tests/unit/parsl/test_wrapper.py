"""The function in an app's place, where a worker lacks this package."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("parsl", reason="Parsl is not installed: pip install 'scichain-wf[parsl]'")


@pytest.mark.parametrize("is_closed", [False, True])
def test_worker_without_this_package_says_so_and_runs_the_task(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_closed: bool
) -> None:
    """Spec: HOOK-1."""
    from scichain_parsl.wrapper import wrapped

    monkeypatch.setitem(sys.modules, "scichain_parsl.shim", None)
    if is_closed:
        monkeypatch.setattr("sys.stderr", None)
    doubled = wrapped(lambda number: 2 * number, {})
    assert doubled(2, _scichain=("python:", False, b"", b"")) == 4
    monkeypatch.undo()
    said = "" if is_closed else "scichain: a task is not recorded: scichain_parsl is not installed here\n"
    assert capsys.readouterr() == ("", said)


def test_worker_without_this_package_does_not_run_a_strict_task(monkeypatch: pytest.MonkeyPatch) -> None:
    from scichain_parsl.wrapper import wrapped

    monkeypatch.setitem(sys.modules, "scichain_parsl.shim", None)
    ran: list[int] = []
    with pytest.raises(ImportError):
        wrapped(ran.append, {})(2, _scichain=("python:", True, b"", b""))
    assert ran == []
