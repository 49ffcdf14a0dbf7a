"""What one worker does, who forks it, and which agent belongs to a node."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("parsl", reason="Parsl is not installed: pip install 'scichain-wf[parsl]'")

from parsl.app.errors import AppException, RemoteExceptionWrapper
from parsl.serialize import deserialize, pack_apply_message, serialize
from parsl.serialize.errors import DeserializationError, SerializationError

from scichain_parsl.nodes import executor, main, worker
from scichain_parsl.nodes.agent import Claim, claim_file
from scichain_parsl.nodes.executor import NodeExecutor
from scichain_parsl.nodes.hub import Hub
from scichain_parsl.nodes.messages import ITEM, Item, Status
from scichain_parsl.nodes.nursery import Nursery
from scichain_wf import limits
from scichain_wf.errors import EXIT_INCOMPLETE, EXIT_USAGE, ConfigError
from scichain_wf.ledger.layout import ChainLayout
from tests.integration.service_kit import wait_until


def came(function: Any, *args: Any) -> tuple[Status, Any]:
    """What a worker gives back for a call."""
    status, data = worker.run(pack_apply_message(function, args, {}))
    value = deserialize(data)
    return status, value.get_exception() if isinstance(value, RemoteExceptionWrapper) else value


def test_a_result_or_an_exception_comes_back() -> None:
    assert came(sum, [1, 2]) == (Status.OK, 3)
    status, error = came(int, "x")
    assert status is Status.ERROR
    assert isinstance(error, ValueError)


def test_an_exit_is_an_error_and_does_not_end_the_worker() -> None:
    status, error = came(sys.exit, 3)
    assert (status, type(error)) == (Status.ERROR, AppException)
    assert "exit(3)" in str(error)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
def test_what_is_no_exception_ends_no_worker_and_no_thread_of_the_main_process(kind: type[BaseException]) -> None:
    def raises() -> None:
        raise kind("odd")

    status, error = came(raises)
    assert (status, type(error)) == (Status.ERROR, AppException)
    assert str(error) == f"the task raised {kind.__name__}, which is no Exception: odd"


class Unloadable:
    """Ends the process that unpickles it."""

    def __reduce__(self) -> Any:
        return sys.exit, (7,)


class Unsayable(Exception):
    """Has no words, and does not pickle."""

    def __str__(self) -> str:
        raise RuntimeError

    def __reduce__(self) -> Any:
        raise SystemExit


def test_a_task_that_exits_while_it_is_loaded_was_not_begun() -> None:
    status, error = came(id, Unloadable())
    assert (status, type(error)) == (Status.UNREADABLE, AppException)
    assert "SystemExit" in str(error)


def test_an_exception_without_words_comes_back_as_its_class() -> None:
    def raises() -> None:
        raise Unsayable

    status, error = came(raises)
    assert (status, type(error)) == (Status.ERROR, AppException)
    assert str(error) == "Unsayable: Unsayable (the exception itself does not pickle: SystemExit)"


def test_what_exits_or_fails_while_it_is_unpickled_is_the_futures_alone() -> None:
    for status in (Status.OK, Status.ERROR):
        error, result = executor._unpacked(Item(1, status, serialize(Unloadable())))
        assert (type(error), result) == (DeserializationError, None)
        assert str(error).endswith("SystemExit: 7")


def test_a_result_that_does_not_pickle_or_is_too_large_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    status, error = came(lambda: (number for number in [1]))
    assert (status, type(error)) == (Status.ERROR, SerializationError)
    assert "(its result)" in str(error)
    monkeypatch.setattr(limits, "TASK_BYTES_MAX", 100)
    status, error = came(bytes, 1_000)
    assert (status, type(error)) == (Status.ERROR, AppException)
    assert "return the name of a file" in str(error)


def test_an_exception_that_does_not_pickle_comes_back_as_its_words() -> None:
    def raises() -> None:
        error = ValueError("odd")
        error.reason = (number for number in [1])  # type: ignore[attr-defined]
        raise error

    status, error = came(raises)
    assert (status, type(error)) == (Status.ERROR, AppException)
    assert str(error).startswith("ValueError: odd (the exception itself does not pickle")


def test_a_task_that_cannot_be_loaded_was_not_begun_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone_soon.py").write_text("def work(): ...\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import gone_soon  # type: ignore[import-not-found]

    task = pack_apply_message(gone_soon.work, (), {})
    monkeypatch.delitem(sys.modules, "gone_soon")
    (tmp_path / "gone_soon.py").unlink()
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(tmp_path)])
    status, data = worker.run(task)
    error = deserialize(data).get_exception()
    assert (status, type(error)) == (Status.UNREADABLE, ModuleNotFoundError)
    assert "set PYTHONPATH in the provider's worker_init" in str(error)


def test_a_worker_serves_its_socket_until_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PARSL_WORKER_RANK", raising=False)
    ours, theirs = socket.socketpair()
    told = json.dumps({"PARSL_WORKER_RANK": "5"}).encode()
    task = pack_apply_message(os.getenv, ("PARSL_WORKER_RANK",), {})
    with ours, theirs:
        ours.sendall(worker.LENGTH.pack(len(told)) + told + ITEM.pack(9, 0, len(task)) + task)
        ours.shutdown(socket.SHUT_WR)
        worker.serve(theirs)
        with ours.makefile("rb") as stream:
            number, status, length = ITEM.unpack(stream.read(ITEM.size))
            assert (number, status, deserialize(stream.read(length))) == (9, Status.OK, "5")
    monkeypatch.delenv("PARSL_WORKER_RANK")


def test_a_task_may_close_its_streams_and_what_it_forks_keeps_no_channel_and_ends_with_its_worker() -> None:
    def forks(how: str) -> int:
        if how == "closes":
            sys.stdout.close()
            sys.stderr.close()
            return os.getpid()
        child = os.fork()
        if child == 0:
            signal.pause()
        Path(how).write_text(str(child), encoding="ascii")
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    nursery = Nursery.forked(lambda: worker.serve)
    try:
        with tempfile.TemporaryDirectory() as directory, nursery.worker() as connection:
            left = Path(directory) / "pid"
            connection.sendall(worker.LENGTH.pack(2) + b"{}")
            for how in ("closes", str(left)):
                task = pack_apply_message(forks, (how,), {})
                connection.sendall(ITEM.pack(1, 0, len(task)) + task)
                with connection.makefile("rb") as stream:
                    header = stream.read(ITEM.size)
                    data = stream.read(ITEM.unpack(header)[2]) if header else b""
                assert bool(data) is (how == "closes")
            pid = int(left.read_text(encoding="ascii"))
            nursery.kill_workers()
            wait_until(lambda: is_over(pid), "it ends")
    finally:
        nursery.close()


def is_over(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_workers_lead_groups_of_their_own_and_end_when_they_are_to() -> None:
    def life(connection: socket.socket) -> None:
        connection.sendall(f"{os.getpid()} {os.getpgid(0)}".encode())
        connection.recv(1)  # for ever

    nursery = Nursery.forked(lambda: life)
    try:
        with nursery.worker() as first, nursery.worker() as second:
            pids = [connection.recv(100).split() for connection in (first, second)]
            assert [pid == group for pid, group in pids] == [True, True]
            assert len({pid for pid, _ in pids}) == 2
            nursery.kill_workers()
            assert (first.recv(1), second.recv(1)) == (b"", b"")
            with nursery.worker() as third:
                assert third.recv(100)
                nursery.close()
                assert third.recv(1) == b""
        with pytest.raises(OSError, match=r".+"):
            nursery.worker()
        nursery.kill_workers()
    finally:
        nursery.close()


def test_slots_are_claimed_one_by_one_and_those_of_the_dead_again(tmp_path: Path) -> None:
    tokens = ChainLayout(tmp_path).run_dir / "tokens"
    assert Claim.take(tmp_path) is None  # no storage node
    tokens.mkdir(parents=True)
    for slot in (2, 10, 3):
        (tokens / f"slot-{slot}").touch()
    claims = [Claim.take(tmp_path) for _ in range(4)]
    assert [claim.slot if claim else None for claim in claims] == [2, 3, 10, None]
    assert claims[1] is not None
    claims[1].release()
    again = Claim.take(tmp_path)
    assert again is not None
    assert again.slot == 3
    other = json.loads(claim_file(tmp_path, 10).read_text(encoding="utf-8"))
    claim_file(tmp_path, 10).write_text(json.dumps(other | {"started": 1}), encoding="utf-8")  # dead: its pid is ours
    last = Claim.take(tmp_path)
    assert last is not None
    assert last.slot == 10
    claim_file(tmp_path, 10).write_text("{", encoding="utf-8")  # being written
    assert Claim.take(tmp_path) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"address": ["127.0.0.1", "x"], "credentials": {}, "ports": []}'])
def test_a_file_that_is_no_access_file_is_named(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "_loaded", lambda: worker.serve)
    access = tmp_path / "access"
    access.write_text(content, encoding="utf-8")
    access.chmod(0o600)
    assert main.main([str(access), "0", "1"]) == EXIT_USAGE
    assert f"{access} is not the access file of a NodeExecutor" in capsys.readouterr().err
    access.chmod(0o644)
    assert main.main([str(access), "0", "1"]) == EXIT_USAGE
    assert "chmod 600" in capsys.readouterr().err


@pytest.mark.parametrize("there", ["nobody", "a firewall", "another executor"])
def test_a_node_that_does_not_reach_its_executor_says_what_helps(
    there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "_loaded", lambda: worker.serve)
    monkeypatch.setattr(limits, "NODE_CONNECT_S", 0.5)
    own, other = (Hub("of a test", 0, None, print, print) for _ in range(2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = other.start("127.0.0.1", (0, 0)) if there == "another executor" else silent.getsockname()
        if there == "nobody":
            silent.close()
        credentials = {name: getattr(own.credentials, name) for name in ("certificate", "key", "authority")}
        access = tmp_path / "access"
        access.write_text(json.dumps({"address": address, "ports": [0, 0], "credentials": credentials}), "utf-8")
        access.chmod(0o600)
        assert main.main([str(access), "0", "1"]) == EXIT_INCOMPLETE
    other.close()
    said = capsys.readouterr().err
    assert f"nothing answers as this executor at {address[0]}:{address[1]} within 0.5 s" in said
    why = {"nobody": "Connect call failed", "a firewall": "not a word", "another executor": "certificate"}
    assert why[there] in said
    assert "an `address` that this host reaches, and a `port_range` that the firewall lets through" in said


def test_what_makes_no_sense_as_an_executor_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"workers_per_node is 0, allowed are 1 to"):
        NodeExecutor(workers_per_node=0)
    with pytest.raises(ConfigError, match=r"prefetch is -1, allowed are 0 to"):
        NodeExecutor(prefetch=-1)
    with pytest.raises(ConfigError, match=r"neither an address nor an interface"):
        NodeExecutor(address="no such").place()
    executor = NodeExecutor(label="a $label")
    executor.run_dir = str(tmp_path)
    with pytest.raises(ConfigError, match=r"a batch script changes \$"):
        executor.start()
    assert "label='a $label'" in repr(executor)
    assert (executor.agents, executor.workers_per_node) == (1, 1)
    executor.shutdown()  # one that did not start
