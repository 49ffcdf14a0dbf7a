"""A chain for the tests of the ledger tail, and a naive model of it that forgets nothing."""

from __future__ import annotations

import functools
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from scichain_wf import limits
from scichain_wf.crypto.hashing import sha256
from scichain_wf.ledger.prepared import PreparedBlock, prepared
from scichain_wf.ledger.standing import Standing
from scichain_wf.ledger.tail import LedgerTail
from scichain_wf.model.block import Block
from scichain_wf.model.bodies import Kind
from scichain_wf.model.link import Annotation, Link, Mark, Mode
from scichain_wf.model.uri import work_uri
from tests.builders import ROOT_ID, Candidate, ChainBuilder
from tests.golden.vectors import Chain

SMALL = limits.TAIL_BYTES_MIN
SALT = bytes(range(16))
PEER, OTHER_PEER = bytes([1]) * 32, bytes([2]) * 32
FILES = 12
BLOCKS = 70


class Step(NamedTuple):
    """A committed block, and every version the chain has recorded when it is appended."""

    link: Link
    block: PreparedBlock
    versions: dict[str, set[bytes | None]]

    def append_to(self, tail: LedgerTail) -> None:
        tail.append(self.link, self.block)


def uri(number: int) -> str:
    return work_uri(ROOT_ID, b"file%d" % number)


@functools.cache
def steps() -> list[Step]:
    """A chain of blocks of up to 60 kB that produce a few files again and again, some without a digest."""
    builder = ChainBuilder(seed=11)
    chain = Chain(builder)
    candidates = [Candidate(builder.genesis, Mode.EPOCH, None, 0)]
    versions: dict[str, set[bytes | None]] = {}
    made: list[Step] = []

    def append(candidate: Candidate) -> None:
        link = chain.append(candidate)
        block = prepared(candidate.block)
        skipped = {mark.index for mark in link.annotations if mark.mark is Mark.DUPLICATE}
        for index, value in enumerate(block.parsed):
            if value["kind"] == Kind.TASK and index not in skipped:
                for output in cast("dict[str, Any]", value)["body"]["outputs"]:
                    digest = bytes.fromhex(output["digest"][7:]) if "digest" in output else None
                    versions.setdefault(output["uri"], set()).add(digest)
        made.append(Step(link, block, {name: set(known) for name, known in versions.items()}))

    append(candidates[0])
    for candidate in builder.join_all():
        append(candidate)
    for number in range(BLOCKS):
        builder.random.seed(number)
        outputs = [
            builder.artifact(f"file{builder.random.randrange(FILES)}", content)
            for content in (b"%d" % builder.random.randrange(9), None if number % 7 == 5 else b"x")
        ]
        text = "x" * (60_000 if number % 3 else 500)
        transactions = [builder.task(f"t {number}", [], outputs), builder.transaction(Kind.NOTE, {"text": text})]
        annotations: tuple[Annotation, ...] = ()
        if number % 10 == 9:
            transactions.append(builder.task("twice", [], [builder.artifact("only a duplicate made it", b"x")]))
            annotations = (Annotation(2, Mark.DUPLICATE),)
        append(builder.poet(builder.block(1, transactions), annotations))
    return made


def foreign(number: int, size_bytes: int = 10_000) -> Block:
    builder = ChainBuilder(seed=1_000 + number)
    texts = ["x" * min(size_bytes - at, limits.TEXT_CHARS_MAX) for at in range(0, size_bytes, limits.TEXT_CHARS_MAX)]
    return builder.block(2, [builder.transaction(Kind.NOTE, {"text": text}) for text in texts])


def size_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*"))


@contextmanager
def opened(directory: Path, bytes_max: int = SMALL) -> Iterator[LedgerTail]:
    tail = LedgerTail.open(directory, bytes_max, SALT)
    try:
        yield tail
    finally:
        tail.close()


def truth(step: Step, name: str, digest: bytes) -> Standing:
    """What a ledger that forgets nothing says."""
    versions = step.versions.get(name, set())
    if digest in versions:
        return Standing.KNOWN
    if None in versions:
        return Standing.UNHASHED
    return Standing.OTHER if versions else Standing.NEW


def check_standing(tail: LedgerTail, step: Step) -> None:
    """The tail agrees with the truth or does not know; while its filter covers, a miss is sure."""
    for number in (*range(FILES), 999):
        for digest in (sha256(b"0"), sha256(b"5"), sha256(b"x"), sha256(b"never")):
            said, true = tail.lookup(uri(number), digest), truth(step, uri(number), digest)
            allowed = {true, Standing.UNKNOWN} | ({Standing.UNHASHED} if true is Standing.KNOWN else set())
            assert said in allowed
            if true is Standing.NEW:
                assert (said is Standing.NEW) == tail.filter_covers


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size`: what a full tmpfs is to LMDB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
