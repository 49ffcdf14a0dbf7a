"""Findings that no other test names: what raises each, and what almost does. And that none is left without either."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest

from scichain_wf import audit, filehash, limits
from scichain_wf.audit.catalogue import CATALOGUE
from scichain_wf.crypto.hashing import Domain, sha256
from scichain_wf.ledger import keys
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.model.block import Block
from scichain_wf.model.transaction import RunId
from tests.chains import DiskChain, small_chain
from tests.unit.audit.fixtures import ALMOST, RAISED, near_misses
from tests.unit.audit.support import get, ids, put, started, verify_here

UNIT = Path(__file__).parents[1]
CERTIFIED, EPOCH = keys.height_key(4), keys.height_key(1)


@pytest.mark.parametrize("table", [RAISED, near_misses()], ids=["raised", "almost raised"])
def test_every_finding_is_raised_by_a_test_and_almost_by_another(table: Mapping[str, tuple[str, ...]]) -> None:
    assert {number for numbers in table.values() for number in numbers} == {entry.id for entry in CATALOGUE.values()}


def test_what_the_tables_name_is_there() -> None:
    codes = {entry.id: f'"{code}"' for code, entry in CATALOGUE.items()}
    for test in {*RAISED, *ALMOST}:
        path, _, name = test.partition("::")
        text = (UNIT / path).read_text(encoding="utf-8")
        assert f"\ndef {name}(" in text, test
        assert all(number in text or codes[number] in text for number in RAISED.get(test, ())), test


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with small_chain((tmp_path / "work").resolve() / ".scichain") as chain:
        return chain.root


def ordered_from_their_ends(root: Path) -> None:
    """Store an index again so that the file orders its keys from their ends."""
    directory = os.fsdecode(ChainLayout(root).live_ledger())
    with lmdb.open(directory, map_size=1 << 28, max_dbs=16, lock=False, create=False, lib_version=0) as env:
        old = env.open_db(keys.RUNS.encode(), create=False)
        with env.begin(write=True) as txn:
            entries = list(txn.cursor(db=old))
            txn.drop(old, delete=True)
    with lmdb.open(directory, map_size=1 << 28, max_dbs=16, lock=False, create=False, lib_version=0) as env:
        new = env.open_db(keys.RUNS.encode(), reverse_key=True)
        with env.begin(write=True, db=new) as txn:
            for key, value in entries:
                txn.put(key, value)


def certificate(root: Path, place: bytes, change: Callable[[bytes], bytes]) -> None:
    stored = get(root, keys.CERTIFICATES, CERTIFIED)
    put(root, [(keys.CERTIFICATES, place, change(stored))])


def rewritten(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


EDITS: dict[str, Callable[[Path], None]] = {
    "SC-CHAIN-014": lambda root: certificate(root, EPOCH, lambda stored: stored),
    "SC-CHAIN-015": lambda root: certificate(root, CERTIFIED, lambda stored: stored.replace(b"deadline", b"conflict")),
    "SC-CHAIN-034": ordered_from_their_ends,
    "SC-CHAIN-091": lambda root: rewritten(ChainLayout(root).trust_root, lambda text: text.removesuffix("\n")),
    "SC-CHAIN-092": lambda root: ChainLayout(root).trust_root.unlink(),
    "SC-CHAIN-094": lambda root: rewritten(
        ChainLayout(root).checkpoint, lambda text: text.replace("\n\n", "\n \n")
    ),
}  # fmt: skip


@pytest.mark.parametrize("number", EDITS)
def test_of_ledgers(root: Path, number: str) -> None:
    assert ids(verify_here(root)) == set()
    EDITS[number](root)
    assert number in ids(verify_here(root))


@pytest.mark.parametrize("other", [True, False])
def test_of_a_block_that_was_made_for_another_chain(tmp_path: Path, other: bool) -> None:
    chain = started(tmp_path / "chain")
    build = chain.builder
    block = build.block(1, [build.task("x")])
    link = chain.append(build.quorum(block))
    chain.checkpoint()
    chain.close()
    data = replace(block.header, chain=sha256(b"other") if other else build.chain).encode()
    stored = Block(data, build.nodes[1].sign(Domain.BLOCK, data), block.transactions).encode()
    put(chain.root, [(keys.BLOCKS, keys.height_key(link.height), stored)])
    assert ("SC-CHAIN-050" in ids(verify_here(chain.root))) is other


# --- files ---------------------------------------------------------------------------------------------
@pytest.fixture
def chain(tmp_path: Path) -> DiskChain:
    """`o.txt` is recorded with the content A."""
    chain = started((tmp_path / "work").resolve() / ".scichain")
    chain.block(1, [chain.builder.task("make", outputs=[chain.builder.artifact("o.txt", b"A")])])
    return chain


def verified(chain: DiskChain) -> set[str]:
    chain.checkpoint()
    chain.close()
    return ids(audit.verify_files(chain.root, jobs=1))


@pytest.mark.parametrize("target", ["o.txt", "there"])
def test_of_a_file_that_cannot_be_read(chain: DiskChain, target: str) -> None:
    """A link to itself; almost: one to the content."""
    work = chain.root.parent
    (work / "there").write_bytes(b"A")
    (work / "o.txt").symlink_to(target)
    assert verified(chain) == {"SC-FILE-005" if target == "o.txt" else "SC-FILE-003"}


@pytest.mark.parametrize("written", [b"BC", b"A"])
def test_of_a_file_that_changes_while_it_is_read(
    chain: DiskChain, monkeypatch: pytest.MonkeyPatch, written: bytes
) -> None:
    """Almost: what was read is as recorded, whatever comes after."""
    path, read = chain.root.parent / "o.txt", filehash._hash_descriptor
    path.write_bytes(written)

    def busy(descriptor: int, expected_bytes: int) -> tuple[bytes, int]:
        found = read(descriptor, expected_bytes)
        with path.open("ab") as file:
            file.write(b"more")
        return found

    monkeypatch.setattr(filehash, "_hash_descriptor", busy)
    assert verified(chain) == ({"SC-FILE-009"} if written == b"BC" else set())


@pytest.mark.parametrize("is_pipe", [True, False])
def test_of_a_file_where_a_pipe_was(chain: DiskChain, is_pipe: bool) -> None:
    work, build = chain.root.parent, chain.builder
    (work / "o.txt").write_bytes(b"A")
    chain.block(1, [build.task("pipe", outputs=[build.artifact("p") | {"state": "pipe"}])])
    os.mkfifo(work / "p") if is_pipe else (work / "p").write_bytes(b"")
    assert verified(chain) == (set() if is_pipe else {"SC-FILE-004"})


@pytest.mark.parametrize("other", [True, False])
def test_of_a_file_with_a_hole_that_nobody_can_read_to_its_end(chain: DiskChain, other: bool) -> None:
    path = chain.root.parent / "o.txt"
    path.write_bytes(b"A")
    if other:
        os.truncate(path, limits.HASH_OTHER_SIZE_BYTES_MAX + 1)
    assert verified(chain) == ({"SC-FILE-001"} if other else set())


@pytest.mark.parametrize("there", [True, False])
def test_of_a_file_that_was_recorded_as_absent(chain: DiskChain, there: bool) -> None:
    work, build = chain.root.parent, chain.builder
    (work / "o.txt").write_bytes(b"A")
    chain.block(1, [build.task("no", outputs=[build.artifact("none.txt") | {"state": "absent"}])])
    if there:
        (work / "none.txt").write_bytes(b"")
    assert verified(chain) == ({"SC-FILE-010"} if there else set())


@pytest.mark.parametrize("moved", [True, False])
def test_of_a_directory_that_runs_place_differently(chain: DiskChain, moved: bool) -> None:
    work = chain.root.parent
    (work / "o.txt").write_bytes(b"A")
    place = work.parent / "moved" if moved else work
    chain.builder.run = RunId(chain.builder.key())
    chain.block(1, [chain.builder.run_start(path=str(place), from_chain="..")])
    assert verified(chain) == ({"SC-FILE-011"} if moved else set())
