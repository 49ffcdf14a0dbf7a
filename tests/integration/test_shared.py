"""`scichain-wf init --shared`: whoever is in the group verifies, and reads no key."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scichain_wf import audit
from scichain_wf.cli import run
from scichain_wf.errors import LedgerError
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.node.chain import prepare
from tests.integration.service_kit import assert_committed_once, running
from tests.integration.sleeps import stopped_under_load, woken

NOBODY, GROUP = 65_534, 54_321


@pytest.fixture
def project() -> Iterator[Path]:
    """A directory of a group; not below pytest's, which nobody else may enter."""
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        os.chown(directory, -1, GROUP)
        directory.chmod(0o2750)
        yield directory


def as_member(what: Callable[[], int]) -> int:
    """The result of a function in a process of another user of that group; 99 if it raised."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setgroups([GROUP])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            code = what()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_group_verifies_a_shared_chain_also_after_a_takeover_and_reads_no_key(
    project: Path, state_home: Path
) -> None:
    for name, shared in (("private", []), ("chain", ["--shared"])):
        assert run(["init", *shared, str(project / name)]) == 0
        assert audit.verify_chain(project / name).exit_code == 0  # every module is imported
    chain, layout = project / "chain", ChainLayout(project / "chain")

    def verified(which: str = "chain") -> int:
        return as_member(lambda: audit.verify_chain(project / which).exit_code)

    assert verified() == 0
    assert verified("private") == 99
    stopped, first = stopped_under_load(chain, 5)
    with running(chain) as service:
        service.flush(bytes(16))
        woken(stopped)
    assert layout.newest_ledger > 1
    assert_committed_once(chain, first)
    assert verified() == 0
    for secret in (layout.storage_key, layout.authority_key):
        assert secret.stat().st_mode & 0o777 == 0o600
        assert as_member(lambda secret=secret: len(secret.read_bytes())) == 99  # type: ignore[misc]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_who_may_not_enter_a_chain_is_told_whose_it_is(project: Path, state_home: Path) -> None:
    layout = ChainLayout(project / "private")
    assert run(["init", str(layout.root)]) == 0
    layout.root.chmod(0o700)

    def refused() -> int:
        with pytest.raises(LedgerError, match=f"it belongs to user id 0, not to {NOBODY}"):
            prepare(layout)
        return 0

    assert as_member(refused) == 0
