"""A chain on NFS 4.2 between kernels: user-mode Linux, three of them on one machine, by the commands a person uses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testbed import Bed, needs, uml
from tests.testbed.uml import Kernel, Nfs

pytestmark = [needs.uml, pytest.mark.timeout(900)]
_WAIT_S = 180.0
_SIZES = 4
"""Lengths of a growing chain that a reader shall have seen."""
_BEATS = 35
"""One each second: a client that saw no change for 30 s keeps what it knows of a directory for a minute."""
_RELIED_ON = ("file system", "exclusive creation", "hard links", "locks", "memory maps", "fsync", "clock")


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Kernel]]:
    """Two clients of one server."""
    with Bed(tmp_path_factory.mktemp("bed"), nodes=3, shm_bytes=uml.SHM_BYTES) as bed, Nfs(bed) as kernels:
        yield kernels


@pytest.fixture
def chain(request: pytest.FixtureRequest) -> Path:
    return Kernel.mount / str(request.node.name)


def command(name: str, chain: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "scichain_wf", name, "--chain", str(chain), *arguments]


def until(kernel: Kernel, log: Path, expects: str) -> str:
    """What is in a log there, once this is."""
    end = time.monotonic() + _WAIT_S
    while not re.search(expects, text := kernel.run(["cat", log]).stdout):
        assert time.monotonic() < end, f"{expects!r} is not in {text}"
        time.sleep(0.5)
    return text


def started_storage(kernel: Kernel, chain: Path) -> Path:
    """Begin to start a storage node; its log, there."""
    log = Path("/run") / f"{chain.name}.log"
    kernel.start(command("storage", chain, "--slots", "1", "--interface", "vec0"), log)
    return log


def marker(kernel: Kernel, chain: Path, number: int) -> tuple[int, str, int]:
    """Process, state and heartbeats of a writer."""
    who, state = kernel.run(["cat", chain / "writers" / f"{number:08d}"]).stdout.splitlines()
    return json.loads(who)["pid"], state.split()[0], int(state.split()[1])


def shown(run: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    print(f"{' '.join(run.args[3:])}: {run.returncode}\n{run.stdout}{run.stderr}")
    return run


def recorded(kernel: Kernel, chain: Path, name: str) -> str:
    """Copy a file beside the chain; the line that says what became of the record."""
    source, copy = (str(chain.with_name(f"{chain.name}.{name}{suffix}")) for suffix in ("", ".out"))
    kernel.run(["sh", "-c", 'echo "$1" > "$1"', "sh", source])
    return shown(kernel.run(command("run", chain, "-i", source, "-o", copy, "--", "cp", source, copy))).stderr


def test_doctor_finds_what_a_chain_relies_on(clients: list[Kernel], chain: Path) -> None:
    said = json.loads(clients[0].run(command("doctor", chain, "--json"), check=False).stdout)
    checks = {check["name"]: check for check in said["checks"]}
    print({name: check["found"] for name, check in checks.items()})
    assert f"on nfs4 at {Kernel.mount}, shared between hosts" in checks["file system"]["found"]
    assert {checks[name]["level"] for name in _RELIED_ON} == {"ok"}


def test_what_one_client_recorded_verifies_on_the_other(clients: list[Kernel], chain: Path) -> None:
    """Spec: CONV-1."""
    one, two = clients
    assert "1 task, 4 transactions (4 quorum" in recorded(one, chain, "here")
    assert "VERIFIED" in shown(two.run(command("verify", chain))).stdout
    assert "1 task, 4 transactions (4 quorum" in recorded(two, chain, "there")
    assert " 2 tasks" in shown(one.run(command("verify", chain))).stdout


def test_a_reader_on_the_other_client_is_right_while_the_chain_grows(clients: list[Kernel], chain: Path) -> None:
    """Spec: SAFE-1, CONV-1."""
    one, two = clients
    log, stop = Path("/run/inner.log"), Path("/run/stop")
    each = f'i=$((i + 1)); o={chain}.$i; "$0" -m scichain_wf run -q -o $o -- sh -c "echo $i > $o"'
    inner = f"i=0; until [ -e {stop} ]; do {each}; done; echo made $i"
    one.start(command("run", chain, "--", "sh", "-c", inner, sys.executable), log)
    while two.run(["test", "-e", chain / "checkpoint"], check=False).returncode != 0:
        assert "check with" not in one.run(["cat", log]).stdout
    counted: list[int] = []
    while len(set(counted)) < _SIZES:
        read = two.run(command("verify", chain, "--json"), check=False)
        said = json.loads(read.stdout)
        print(read.returncode, said["verdict"], said["head"]["size"])
        assert read.returncode in {0, 3}, said
        counted.append(said["head"]["size"])
    one.run(["touch", stop])
    text = until(one, log, "check with")
    print(text)
    assert counted == sorted(counted)
    made = re.search(r"^made (\d+)$", text, re.MULTILINE)
    assert made is not None
    last = shown(two.run(command("verify", chain))).stdout
    assert "VERIFIED" in last
    assert f" {int(made[1]) + 1} tasks" in last


def test_a_second_storage_node_is_refused_and_a_sleeper_is_fenced(clients: list[Kernel], chain: Path) -> None:
    """Spec: SAFE-8. The names that the sleeper looked for are in its kernel's cache as not there."""
    one, two = clients
    until(one, log := started_storage(one, chain), "tokens")
    refused = shown(two.run(command("storage", chain, "--slots", "1"), check=False))
    assert refused.returncode == 3
    assert re.search(r"is in use: its storage node is process \d+ on n2 \(writer 1\)", refused.stderr)
    assert two.run(["test", "-e", chain / "writers" / "00000002"], check=False).returncode != 0
    pid, state, _ = marker(one, chain, 1)
    assert state == "holding"
    while marker(one, chain, 1)[2] < _BEATS:
        time.sleep(1)
    one.run(["kill", "-STOP", str(pid)])
    beats = marker(one, chain, 1)[2]
    until(two, started_storage(two, chain), "tokens")
    one.run(["kill", "-CONT", str(pid)])
    print(until(one, log, "ended with code 3"))
    print(one.run(["grep", "-a", "took over", chain / "run" / "storage.log"]).stdout)
    assert marker(two, chain, 1)[2] <= beats + 1, "it went on after its successor began"
    two.run(["kill", str(marker(two, chain, 2)[0])])
    until(two, Path("/run") / f"{chain.name}.log", "ended|committed|stopped|code")
    assert "VERIFIED" in shown(one.run(command("verify", chain))).stdout
