"""`scichain-wf storage` and `scichain-wf node` on one host: how they begin, end, and refuse what cannot be used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scichain_wf.cli import standing
from scichain_wf.client.outbox import OutboxWriter, outbox_directory
from scichain_wf.client.trustroot import read_trust_root
from tests.integration.service_kit import Records, assert_committed_once, committed, wait_until

PROGRAM = [sys.executable, "-m", "scichain_wf"]
WAIT_S = 60


def environment() -> dict[str, str]:
    import scichain_wf

    home = str(Path(scichain_wf.__file__).resolve().parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))}


@contextmanager
def started(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A command, ended by SIGTERM; its standard error goes to its standard output."""
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=WAIT_S)


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    seen = ""
    while text not in seen:
        line = process.stdout.readline()
        assert line, f"ended with {process.wait()}: {seen}"
        seen += line
    return seen


def failed(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and message of a command that has to fail."""
    run = subprocess.run(
        [*PROGRAM, *map(str, arguments)], capture_output=True, text=True, env=environment(), timeout=WAIT_S, check=False
    )
    assert run.returncode != 0
    assert "Traceback" not in run.stderr
    return run.returncode, run.stdout + run.stderr


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    return tmp_path / "a chain"


@pytest.fixture
def storage(chain: Path) -> Iterator[Path]:
    """A running storage node for two agents; the chain's directory."""
    with started("storage", "--chain", chain, "--slots", "2") as process:
        read_until(process, "tokens")
        yield chain
    assert process.returncode == 0


def outbox(chain: Path, slot: int) -> Path:
    return outbox_directory(read_trust_root(chain), slot)


def test_agents_started_by_hand_commit_and_leave_nothing_behind(storage: Path) -> None:
    """Spec: LOSS-1, SAFE-4."""
    records = Records(read_trust_root(storage))
    emitted = records.tasks(20)
    with (
        started("node", "--chain", storage, "--slot", "1") as one,
        started("node", "--chain", storage, "--slot", "2") as two,
    ):
        for process in (one, two):
            assert str(outbox(storage, 1).parent) in read_until(process, "joined")
        writers = [OutboxWriter(outbox(storage, slot)) for slot in (1, 2)]
        for number, record in enumerate(emitted):
            writers[number % 2].append(record.encode())
        wait_until(lambda: {record.id for record in emitted} <= committed(storage).keys(), "commits")
        last = records.tasks(5, "last")
        for record in last:
            writers[0].append(record.encode())
    assert (one.returncode, two.returncode) == (0, 0)
    assert_committed_once(storage, emitted + last)
    assert [left.name for left in outbox(storage, 1).parent.iterdir()] == ["service"]  # the storage node's own


def test_json_says_where_the_storage_node_is(chain: Path) -> None:
    with started("storage", "--chain", chain, "--slots", "3", "--json") as process:
        said = json.loads(read_until(process, "\n}"))
        host, _, port = said["address"].rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10):
            pass
        tokens = sorted((chain / "run" / "tokens").iterdir())
        assert [token.name for token in tokens] == ["slot-1", "slot-2", "slot-3"]
        assert {token.stat().st_mode & 0o777 for token in tokens} == {0o600}
    assert process.returncode == 0
    assert said["slots"] == 3
    assert said["trust_root"] == f"sha256:{read_trust_root(chain).hex()}"
    assert not (chain / "run" / "storage").exists()
    assert not (chain / "run" / "tokens").exists()


def test_an_agent_waits_for_the_next_storage_node_and_joins_it(chain: Path) -> None:
    with started("storage", "--chain", chain, "--slots", "1") as first:
        read_until(first, "tokens")
        with started("node", "--chain", chain, "--slot", "1") as agent:
            read_until(agent, "joined")
            first.send_signal(signal.SIGINT)
            assert first.wait(WAIT_S) == 0
            read_until(agent, "no storage node runs on it")
            with started("storage", "--chain", chain, "--slots", "1") as second:
                read_until(agent, "joined")
                records = Records(read_trust_root(chain)).tasks(3)
                for record in records:
                    OutboxWriter(outbox(chain, 1)).append(record.encode())
                agent.terminate()
                assert agent.wait(WAIT_S) == 0
            assert second.returncode == 0
    assert_committed_once(chain, records)


def test_an_agent_that_is_told_to_end_while_it_waits_for_a_storage_node_leaves_nothing_behind(
    chain: Path, tmp_path: Path
) -> None:
    tails = tmp_path / "tails"
    tails.mkdir()
    with started("storage", "--chain", chain, "--slots", "1") as storage:
        read_until(storage, "tokens")
        with started("node", "--chain", chain, "--slot", "1", "--tail-dir", tails) as agent:
            read_until(agent, "joined")
            assert list(tails.iterdir())
            storage.terminate()
            read_until(agent, "waiting: no storage node")
            assert storage.wait(WAIT_S) == 0
    assert agent.returncode == 0
    assert list(tails.iterdir()) == []
    assert not outbox(chain, 1).parent.exists()


def test_a_node_ends_with_3_and_says_where_records_wait_if_they_cannot_be_committed(chain: Path) -> None:
    """Spec: LOSS-1."""
    with started("storage", "--chain", chain, "--slots", "1") as storage:
        read_until(storage, "tokens")
        with started("node", "--chain", chain, "--slot", "1") as agent:
            read_until(agent, "joined")
            storage.send_signal(signal.SIGSTOP)
            service = int((chain / "run" / "storage").read_text().split()[2])
            os.kill(service, signal.SIGSTOP)
            emitted = Records(read_trust_root(chain)).tasks(3)
            for record in emitted:
                OutboxWriter(outbox(chain, 1)).append(record.encode())
            agent.terminate()
            read_until(agent, "told to end: draining")
            agent.terminate()  # once more: at once
            said = agent.communicate(timeout=WAIT_S)[0]
            assert agent.returncode == 3
            assert "not everything is committed" in said
            assert str(outbox(chain, 1).parent) in said
            os.kill(service, signal.SIGCONT)
            storage.send_signal(signal.SIGCONT)
        with started("node", "--chain", chain, "--slot", "1") as agent:
            read_until(agent, "joined")
            wait_until(lambda: {record.id for record in emitted} <= committed(chain).keys(), "commits")
    assert agent.returncode == 0
    assert_committed_once(chain, emitted)


def said_of_slots(chain: Path, holds: Callable[[list[str]], bool]) -> list[str]:
    """State of each slot as `status` shows it, once that holds."""
    seen: list[list[str]] = []

    def look() -> bool:
        seen.append([str(slot["state"]) for slot in standing.look(chain).slots])
        return bool(seen[-1]) and holds(seen[-1])

    wait_until(look, "the states of the slots")
    return seen[-1]


def test_an_agent_whose_slot_was_filled_again_is_told_and_ends(storage: Path, tmp_path: Path) -> None:
    """The newer one stays: else the two would take the slot from each other for ever."""
    with started("node", "--chain", storage, "--slot", "1") as first:
        read_until(first, "joined")
        pid = int(next(p for p in Path("/proc").iterdir() if is_child_of(p, first.pid)).name)
        os.kill(pid, signal.SIGSTOP)  # as good as on a host that does not answer
        elsewhere = outbox(storage, 1).rename(outbox(storage, 1).parent / "drain.0")  # as if on another host
        with started("node", "--chain", storage, "--slot", "1") as second:
            read_until(second, "joined")
            os.kill(pid, signal.SIGCONT)
            said = first.communicate(timeout=WAIT_S)[0]
            assert "filled by another process since: each slot has one agent" in said
            assert first.returncode == 2
            said_of_slots(storage, lambda slots: slots == ["voting", "not here yet"])
            shutil.rmtree(elsewhere)
        assert second.returncode == 0


def is_child_of(process: Path, parent: int) -> bool:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1]) == parent
    except (OSError, ValueError, IndexError):
        return False


def test_a_token_that_the_authority_did_not_sign_lets_nobody_in(storage: Path, tmp_path: Path) -> None:
    """Spec: SAFE-4. The other agent, which comes at the same time, is not hindered."""
    forged = tmp_path / "forged"
    forged.touch(0o600)
    content = json.loads((storage / "run" / "tokens" / "slot-1").read_text())
    forged.write_text(json.dumps(content | {"token": bytes(range(32)).hex()}))
    with started("node", "--chain", storage, "--slot", "1", "--token", forged) as liar:
        log = storage / "run" / "storage.log"
        with started("node", "--chain", storage, "--slot", "2") as honest:
            read_until(honest, "joined")
            assert "the storage node does not want this agent" in read_until(liar, "does not want this agent")
            assert liar.wait(WAIT_S) == 2
            assert "an agent cannot join" in log.read_text()
            shown = said_of_slots(storage, lambda slots: slots[0].startswith("dismissed: ") and slots[1] == "voting")
            assert "token" in shown[0]
            with started("node", "--chain", storage, "--slot", "1") as one:
                read_until(one, "joined")
                said_of_slots(storage, lambda slots: slots == ["voting", "voting"])
            said_of_slots(storage, lambda slots: slots == ["left", "voting"])
        assert honest.returncode == 0


def test_what_a_node_cannot_use_is_named(storage: Path, tmp_path: Path) -> None:
    node: list[str | Path] = ["node", "--chain", storage]
    token = storage / "run" / "tokens" / "slot-1"
    code, said = failed(*node, "--slot", "2", "--token", token)
    assert (code, "is the token of slot 1, not of slot 2" in said) == (2, True)
    code, said = failed(*node, "--slot", "3")
    assert (code, "there is no" in said, "slot-3" in said) == (2, True, True)
    other = tmp_path / "token"
    other.write_text("not a token")
    other.chmod(0o600)
    code, said = failed(*node, "--slot", "1", "--token", other)
    assert (code, "is not a join token" in said) == (2, True)
    other.write_bytes(token.read_bytes())
    other.chmod(0o644)
    code, said = failed(*node, "--slot", "1", "--token", other)
    assert (code, "chmod 600" in said) == (2, True)
    code, said = failed(*node, "--slot", "1", "--interface", "no such thing")
    assert (code, "its interfaces are: lo" in said) == (2, True)
    code, said = failed(*node, "--slot", "1", "--interface", "192.0.2.1")
    assert (code, "cannot listen on 192.0.2.1" in said) == (2, True)
    code, said = failed(*node, "--slot", "1", "--port-range", "7-6")
    assert (code, "not a range of ports" in said) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = failed(*node, "--slot", "1", "--port-range", str(port))
        assert (code, f"no port from {port} to {port} is free" in said) == (2, True)
        code, said = failed("storage", "--chain", tmp_path / "new", "--slots", "1", "--port-range", str(port))
        assert (code, f"no port from {port} to {port} is free" in said) == (2, True)
    assert not outbox(storage, 1).exists()


def test_without_a_chain_or_a_storage_node_there_is_nothing_to_join(chain: Path, tmp_path: Path) -> None:
    assert failed("node", "--chain", tmp_path, "--slot", "1")[0] == 2
    with started("storage", "--chain", chain, "--slots", "1") as process:
        read_until(process, "tokens")
        code, said = failed("storage", "--chain", chain, "--slots", "1")
        assert (code, "Traceback" in said) == (3, False)
        kept = tmp_path / "token"
        kept.touch(0o600)
        kept.write_bytes((chain / "run" / "tokens" / "slot-1").read_bytes())
    code, said = failed("node", "--chain", chain, "--slot", "1", "--wait", "0")
    assert (code, "no storage node runs on it" in said) == (3, True)
    with started("storage", "--chain", chain, "--slots", "1") as process:
        read_until(process, "tokens")
        code, said = failed("node", "--chain", chain, "--slot", "1", "--token", kept, "--wait", "0")
        assert (code, "is for an earlier storage node" in said) == (3, True)
    (chain / "run" / "storage").write_text("what is this")
    code, said = failed("node", "--chain", chain, "--slot", "1", "--wait", "0")
    assert (code, "does not say where the storage node is" in said) == (2, True)


def test_two_agents_of_one_slot_cannot_share_a_host(storage: Path) -> None:
    with started("node", "--chain", storage, "--slot", "1") as first:
        read_until(first, "joined")
        code, said = failed("node", "--chain", storage, "--slot", "1")
        assert code == 3
        assert "an agent of an earlier run does not end" in said
        assert first.poll() is None
    assert first.returncode == 0
