"""Where runs join the storage node: whatever is in the way."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scichain_wf.errors import PeerError
from scichain_wf.node import shm
from scichain_wf.node.runs import Runs

NOTHING: Any = None


@pytest.fixture
def place() -> Iterator[tuple[bytes, Path]]:
    """A chain's id, and where its runs join."""
    chain = os.urandom(32)
    directory = shm.chain_directory(chain)
    shm.make(directory, shm.CHAIN_LEVELS)
    yield chain, directory / "service"
    shm.remove(directory)
    shm.remove_empty(chain)


def admitted(chain: bytes) -> bool:
    """Whether somebody can connect then."""

    async def play() -> bool:
        runs = Runs(None, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING)
        await runs.admit(chain, dict)
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(os.fspath(shm.chain_directory(chain) / "service"))
        runs.dismiss()
        return True

    return asyncio.run(play())


def dead_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(os.fspath(path))


@pytest.mark.parametrize(
    "squat",
    [dead_socket, Path.touch, os.mkfifo, lambda path: path.symlink_to("/nowhere/at/all")],
    ids=["a dead socket", "a file", "a pipe", "a link"],
)
def test_what_is_left_where_runs_join_is_replaced(place: tuple[bytes, Path], squat: Callable[[Path], None]) -> None:
    chain, path = place
    squat(path)
    assert admitted(chain)
    assert not os.path.lexists(path)


def test_a_directory_where_runs_join_is_named_with_the_remedy(place: tuple[bytes, Path]) -> None:
    chain, path = place
    path.mkdir()
    with pytest.raises(PeerError, match=rf"{path}: runs cannot join there \(Is a directory\): remove it"):
        admitted(chain)
    assert path.is_dir()
