"""`scichain-wf recover`: an older copy of a chain was put back; a person goes on from it, and the chain says so."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from scichain_wf import audit, keystore
from scichain_wf.audit import Result
from scichain_wf.cli import run
from scichain_wf.client import kept
from scichain_wf.client.service import start
from scichain_wf.client.spool import write_spool
from scichain_wf.client.trustroot import read_trust_root
from scichain_wf.errors import VerificationError
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.store import ChainStore
from scichain_wf.model.bodies import Kind
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.transaction import Transaction
from scichain_wf.node import recovery
from scichain_wf.node.chain import RECOVERY, recovery_notes
from tests.integration.service_kit import Records, assert_committed_once, committed, emit, running


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    return tmp_path / "chain"


def recorded(chain: Path, prefix: str) -> list[Transaction]:
    with running(chain) as service:
        records = Records(service.chain)
        emitted = records.tasks(3, prefix)
        emit(service, emitted)
        service.flush(records.run)
    return emitted


def rolled_back(chain: Path, aside: Path) -> tuple[list[Transaction], bytes]:
    """Yesterday's copy in the place of today's; what it holds, and today's checkpoint."""
    first = recorded(chain, "first")
    shutil.copytree(chain, aside)
    recorded(chain, "second")
    newest = ChainLayout(chain).checkpoint.read_bytes()
    shutil.rmtree(chain)
    aside.rename(chain)
    return first, newest


def files(*directories: Path) -> dict[Path, bytes]:
    """Everything but logs, markers of writers (a start that is refused took one) and the host's lock."""
    passed_over = {"writers", "run"}
    paths = [path for directory in directories for path in directory.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in paths if path.parent.name not in passed_over}


def notes(chain: Path) -> int:
    """How many `note`s are on the chain."""
    with ChainStore.open(ChainLayout(chain).live_ledger(), readonly=True) as store, store.view() as view:
        places = [(height, n) for height in range(view.size) for n in range(view.frame(height).count)]
        return [Transaction.decode(view.transaction(place)).kind for place in places].count(Kind.NOTE)


def found(result: Result) -> dict[str, str]:
    return {f.id: f.subject for f in result.findings if f.severity != "info"}


def test_who_gives_the_lost_links_up_goes_on_and_the_chain_says_so(
    chain: Path, tmp_path: Path, state_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spec: SAFE-7."""
    first, newest = rolled_back(chain, tmp_path / "yesterday")
    with pytest.raises(VerificationError, match="scichain-wf recover"):
        start(chain)
    before = files(chain, state_home)
    assert run(["recover", "--chain", str(chain)]) == 1
    said = capsys.readouterr().out
    assert "links that were durable are not here (heights" in said
    assert "put the newest copy of the chain back" in said
    assert run(["recover", "--chain", str(chain), "--accept-fork"]) == 2  # nobody to ask
    assert "add --yes" in capsys.readouterr().err
    assert files(chain, state_home) == before

    assert run(["recover", "--chain", str(chain), "--accept-fork", "--yes"]) == 0
    assert "accepted: the chain goes on" in capsys.readouterr().out
    path = kept.path(read_trust_root(chain))
    assert path.read_bytes() == ChainLayout(chain).checkpoint.read_bytes()
    assert [aside.read_bytes() for aside in path.parent.glob("checkpoint.*")] == [newest]

    third = recorded(chain, "third")
    assert len(committed(chain).keys() - {record.id for record in first + third}) == 1 == notes(chain)
    assert_committed_once(chain, first + third)
    result = audit.verify_chain(chain)
    assert (result.exit_code, list(found(result))) == (0, ["SC-CHAIN-104"])
    assert "signed by the storage node" in next(f.actual for f in result.findings if f.id == "SC-CHAIN-104")
    # Who kept what was given up is still told: the owner's word does not make it the same history.
    elsewhere = audit.verify_chain(chain, checkpoint=newest)
    assert elsewhere.exit_code == 1
    assert {"SC-CHAIN-104"} < set(found(elsewhere)) <= {"SC-CHAIN-101", "SC-CHAIN-102", "SC-CHAIN-104"}
    capsys.readouterr()
    assert run(["recover", "--chain", str(chain), "--accept-fork", "--yes"]) == 0
    assert "there is nothing to recover" in capsys.readouterr().out


def test_an_older_ledger_beside_its_own_newer_checkpoint(
    chain: Path, tmp_path: Path, state_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spec: SAFE-7. Only `ledger/` was put back; both checkpoints are given up, with one note each."""
    first = recorded(chain, "first")
    shutil.copytree(chain / "ledger", tmp_path / "ledger")
    recorded(chain, "second")
    shutil.rmtree(chain / "ledger")
    (tmp_path / "ledger").rename(chain / "ledger")
    assert run(["recover", "--chain", str(chain), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert [Path(c["path"]).parent for c in said["contradictions"]] == [chain, kept.path(read_trust_root(chain)).parent]
    assert not said["accepted"]
    assert run(["recover", "--chain", str(chain), "--accept-fork", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accepted"]
    assert_committed_once(chain, first + recorded(chain, "third"))
    assert len(list(chain.glob("checkpoint.*"))) == 1


def test_a_recover_that_is_killed_before_it_took_effect_says_nothing_false(
    chain: Path, tmp_path: Path, state_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec: SAFE-7. It said it and gave nothing up yet; then the newest ledger is put back."""
    first = recorded(chain, "first")
    shutil.copytree(chain / "ledger", tmp_path / "older")
    second = recorded(chain, "second")
    shutil.copytree(chain / "ledger", tmp_path / "newest")
    shutil.rmtree(chain / "ledger")
    (tmp_path / "older").rename(chain / "ledger")

    def killed(*_: object) -> None:
        raise SystemExit(9)

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(recovery, "_rename", killed)
        patched.setattr(Path, "unlink", lambda *_, **__: None)  # nor does who is killed tidy up
        run(["recover", "--chain", str(chain), "--accept-fork", "--yes"])
    said = recovery_notes(ChainLayout(chain))
    assert len(said) == 2
    assert run(["recover", "--chain", str(chain)]) == 1  # still refused

    odd = ChainLayout(chain).spool_new / f"{RECOVERY}odd.tx"
    odd.write_bytes(b"what is this")
    shutil.rmtree(chain / "ledger")
    (tmp_path / "newest").rename(chain / "ledger")
    assert_committed_once(chain, first + second + recorded(chain, "third"))
    assert not [path for path in said if path.exists()]
    result = audit.verify_chain(chain)
    assert (result.exit_code, found(result)) == (0, {})
    assert notes(chain) == 0


def test_a_recover_that_was_killed_is_done_again_and_says_it_once(
    chain: Path, tmp_path: Path, state_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec: SAFE-7."""
    rolled_back(chain, tmp_path / "yesterday")
    layout = ChainLayout(chain)
    given_up = recovery.contradictions(layout)
    write_spool(layout.spool_new.parent, recovery._note(given_up[0], "me").encode(), RECOVERY)
    assert run(["recover", "--chain", str(chain), "--accept-fork", "--yes"]) == 0
    assert notes(chain) == 1


def test_a_checkpoint_that_the_storage_node_did_not_sign_is_no_reason_to_give_anything_up(
    chain: Path, state_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spec: SAFE-7. It stops no start, and nobody is asked to give up links that never were."""
    recorded(chain, "first")
    path = kept.path(read_trust_root(chain))
    note = Checkpoint.parse(path.read_bytes())
    forged = replace(note, size=note.size + 9).sign(keystore.generate())
    path.write_text(forged.text())
    assert run(["recover", "--chain", str(chain), "--accept-fork", "--yes"]) == 0
    assert "there is nothing to recover" in capsys.readouterr().out
    recorded(chain, "second")
    assert audit.verify_chain(chain).exit_code == 0


def test_a_fork_that_cannot_be_gone_on_from_is_not_accepted(
    chain: Path, tmp_path: Path, state_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spec: SAFE-7. The storage node does not start: everything is as it was, and the chain still refused."""
    first, _ = rolled_back(chain, tmp_path / "yesterday")
    key = ChainLayout(chain).storage_key
    key.chmod(0o644)
    before = files(chain, state_home)
    assert run(["recover", "--chain", str(chain), "--accept-fork", "--yes"]) == 2
    assert "storage.key" in capsys.readouterr().err
    assert files(chain, state_home) == before
    key.chmod(0o600)
    assert run(["recover", "--chain", str(chain)]) == 1
    assert_committed_once(chain, first)
