"""Writer epochs with real processes: several at once, killed, stopped and woken; directories that cannot be used."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self, cast

import pytest

from scichain_wf.errors import LedgerError
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.node.writers import claimed
from tests.integration.service_kit import finding_tests
from tests.integration.store_crash import strace_works
from tests.mounts import mounted

ROOT = Path(__file__).parents[2]
LONG_S, SHORT_S = 3_600.0, 0.4
needs_strace = pytest.mark.skipif(not strace_works(), reason="strace is not installed, or may not trace here")


class Claimant:
    """A `writer_child`."""

    def __init__(self, chain: Path, lease_s: float, *before: str) -> None:
        self.chain = chain
        command = [*before, sys.executable, "-m", "tests.integration.writer_child", str(chain), str(lease_s)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=finding_tests(), cwd=ROOT
        )

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, object]:
        assert self.process.stdout is not None
        return cast("dict[str, object]", json.loads(self.process.stdout.readline()))

    def claim(self) -> dict[str, object]:
        self.say("go")
        return self.hear()

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def claimants(tmp_path: Path) -> Iterator[list[Claimant]]:
    """Four processes that wait for their turn, at the chain `chain`; those at odd places have a short lease."""
    with ExitStack() as stack:
        leases = [LONG_S, SHORT_S, LONG_S, SHORT_S]
        yield [stack.enter_context(Claimant(tmp_path / "chain", lease_s)) for lease_s in leases]


def at_once(claimants: list[Claimant]) -> tuple[Claimant, dict[str, object]]:
    """Let them all claim; returns the one that may write. The others must have been told that it does."""
    for claimant in claimants:
        claimant.say("go")
    heard = [(claimant, claimant.hear()) for claimant in claimants]
    won = [(claimant, answer) for claimant, answer in heard if "number" in answer]
    assert len(won) == 1, heard
    for claimant, answer in heard:
        if claimant is not won[0][0]:
            assert f"in use: its storage node is process {won[0][0].process.pid} " in str(answer["error"])
            assert claimant.process.wait(30) == 3
    won[0][0].say("go")
    assert won[0][0].hear() == {"may": True}
    return won[0]


def test_of_three_at_once_exactly_one_gets_a_fresh_chain(claimants: list[Claimant]) -> None:
    """Spec: SAFE-8."""
    _, answer = at_once(claimants[:3])
    assert answer == {"number": 1, "in_place": True}


def test_of_three_at_once_exactly_one_follows_an_orderly_end(claimants: list[Claimant]) -> None:
    """Spec: SAFE-8."""
    first, *others = claimants
    assert first.claim() == {"number": 1, "in_place": True}
    assert first.end() == 0
    _, answer = at_once(others[:3])
    assert answer == {"number": 2, "in_place": True}


def test_of_three_at_once_exactly_one_follows_a_dead_process(claimants: list[Claimant]) -> None:
    """Spec: SAFE-8. At once and in place, though its lease lasts an hour: it ran here, and is dead."""
    first, *others = claimants
    first.claim()
    first.process.kill()
    first.process.wait()
    _, answer = at_once(others[:3])
    assert answer == {"number": 2, "in_place": True}


def test_of_three_at_once_exactly_one_follows_a_stopped_process_which_is_fenced(claimants: list[Claimant]) -> None:
    """Spec: SAFE-8."""
    stopped, *others = [claimants[1], *claimants[:1], *claimants[2:]]
    stopped.claim()
    stopped.process.send_signal(signal.SIGSTOP)
    stopped.say("go")  # what it reads first when it wakes up
    winner, answer = at_once(others[:3])
    assert answer == {"number": 2, "in_place": False}
    stopped.process.send_signal(signal.SIGCONT)
    assert f"process {winner.process.pid} on" in str(stopped.hear()["error"])
    assert stopped.process.wait(30) == 3
    winner.say("go")
    assert winner.hear() == {"may": True}


def refused(claimant: Claimant, how: str) -> dict[str, object]:
    """What a claimant is told that must not get anything; it left no marker."""
    with claimant:
        claimant.say(how)
        answer = claimant.hear()
        assert claimant.end() == 3
    assert list((claimant.chain / "writers").iterdir()) == []
    return answer


@needs_strace
@pytest.mark.parametrize("code", ["EPERM", "EOPNOTSUPP"])
def test_a_file_system_without_hard_links_is_refused(tmp_path: Path, code: str) -> None:
    inject = f"inject=link,linkat:error={code}"
    trace = ("strace", "-qq", "-f", "-o", os.devnull, "-e", "trace=link,linkat", "-e", inject)
    error = str(refused(Claimant(tmp_path / "chain", LONG_S, *trace), "go")["error"])
    assert "this file system makes no hard links" in error
    assert "choose another directory for the chain" in error


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    answer = refused(Claimant(tmp_path / "chain", LONG_S), "full")
    assert answer["class"] == "LedgerFull"
    assert "no room left while taking the chain over" in str(answer["error"])


def test_a_directory_that_may_not_be_written_is_named(short_path: Path) -> None:
    short_path.chmod(0o755)
    layout = ChainLayout(short_path / "chain")
    layout.writers.mkdir(parents=True)
    layout.writers.chmod(0o555)
    if os.geteuid() == 0:
        os.chown(layout.writers, 65534, -1)  # who is not stopped by the mode, and takes another's place for this
    layout.run_dir.mkdir()
    layout.run_dir.chmod(0o777)
    error = str(refused(Claimant(layout.root, LONG_S), "nobody")["error"])
    assert f"{layout.writers}: Permission denied while taking the chain over" in error


def test_a_successor_is_seen_through_a_cache_that_says_it_is_not_there(tmp_path: Path) -> None:
    """Spec: SAFE-8. An NFS client remembers for up to a minute that a name was not there; so does this mount."""
    below, seen = tmp_path / "below", tmp_path / "seen"
    for name in ("run", "writers"):
        (below / "chain" / name).mkdir(parents=True)
    options = ["-o", "negative_timeout=3600,entry_timeout=3600,attr_timeout=3600"]
    with mounted(seen, ["bindfs", *options, str(below), str(seen)]), claimed(ChainLayout(seen / "chain")) as writer:
        writer.hold()
        successor = Path("chain", "writers", "00000002")
        assert not (seen / successor).exists()
        (below / successor).touch()
        assert not (seen / successor).exists()
        with pytest.raises(LedgerError, match=r"writer 1\) was not heard of for .* took over"):
            writer.renew()
        assert writer.is_fenced
