"""What an index says of an artifact, and how often it is read for it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from scichain_wf.crypto.hashing import sha256
from scichain_wf.ledger import standing
from scichain_wf.ledger.keys import uri_key
from scichain_wf.ledger.standing import Standing
from tests.unit.ledger.kit import append, commit, new_chain


def test_the_versions_of_an_artifact_are_read_once_between_two_appends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a block names it: each reading is as long as its history."""
    builder, store = new_chain(tmp_path / "ledger")
    uri, digests = "work:00112233445566aa/a", standing._digests
    read: list[bytes] = []

    def noted(cursor: Any, key: bytes) -> set[bytes]:
        read.append(key)
        return digests(cursor, key)

    monkeypatch.setattr(standing, "_digests", noted)
    commit(store, builder, *([builder.task("t", [], [builder.artifact("a", b"%d" % n)])] for n in range(5)))
    oldest, newest, next_ = (sha256(b"%d" % n) for n in (0, 4, 5))
    with contextlib.closing(store), store.begin() as batch:
        assert batch.standing(uri, newest) is Standing.KNOWN
        assert read == []
        assert [batch.standing(uri, digest) for digest in (oldest, next_, bytes(32), newest)] == [
            "known",
            "other",
            "other",
            "known",
        ]
        assert read == [uri_key(uri)]
        append(batch, builder, builder.quorum(builder.block(1, [builder.task("u", [], [builder.artifact("a", b"5")])])))
        assert [batch.standing(uri, digest) for digest in (next_, oldest, bytes(32), newest)] == [
            "known",
            "known",
            "other",
            "known",
        ]
        assert read == 2 * [uri_key(uri)]
