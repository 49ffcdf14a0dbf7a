"""The file that says who keeps a service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scichain_wf.client import standing
from scichain_wf.errors import LedgerError

SOUND: dict[str, Any] = {"host": "elsewhere", "pid": 7, "started": 1, "trust_root": "ab", "nodes": 1, "error": ""}


def written(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "standing").write_bytes(data)
    return tmp_path


@pytest.mark.parametrize(
    "change", [{"host": 5}, {"pid": "7"}, {"pid": 1}, {"nodes": None}, {"error": ["x"]}, {"trust_root": {}}, {"x": 1}]
)
def test_a_keepers_file_that_was_edited_is_refused_with_the_remedy(tmp_path: Path, change: dict[str, Any]) -> None:
    assert standing.find(written(tmp_path, json.dumps(SOUND).encode())) == standing.Keeper(**SOUND)
    (tmp_path / "run" / "standing").write_text(json.dumps(SOUND | change))
    with pytest.raises(LedgerError, match="is damaged; remove it"):
        standing.find(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\xff{", b"[]", b"7", b"[" * 10_000])
def test_a_keepers_file_that_is_something_else_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(LedgerError, match="is damaged; remove it"):
        standing.find(written(tmp_path, data))
