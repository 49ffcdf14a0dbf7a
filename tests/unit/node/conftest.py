"""Another place than the host's shared memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from scichain_wf.client.outbox import outbox_directory
from scichain_wf.node import shm


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another place than the host's shared memory."""
    monkeypatch.setattr(shm, "outbox_directory", lambda chain, slot, *_: outbox_directory(chain, slot, tmp_path))
    return tmp_path
