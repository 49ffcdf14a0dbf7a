"""Verification runs in the test's own process, unless a test asks for `children`."""

from __future__ import annotations

import pytest

from scichain_wf.audit import artifact, chain, engine, files, run
from scichain_wf.ledger import fsck, isolate
from tests.chains import InProcess


@pytest.fixture
def children() -> None:
    """Ask for this to verify in child processes, as users do."""


@pytest.fixture(autouse=True)
def in_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "children" not in request.fixturenames:
        for module in (artifact, chain, engine, files, run, fsck, isolate):
            monkeypatch.setattr(module, "Pool", InProcess)
