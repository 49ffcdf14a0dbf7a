"""`doctor --from-node`: on a compute node, before an agent is started there."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scichain_wf.cli import run
from tests.integration.test_services import read_until, started
from tests.testbed import Bed, needs
from tests.testbed.bed import leftovers
from tests.testbed.cluster import Cluster, environment

ROOT = Path(__file__).resolve().parents[2]
PORTS = "20000-20010"
Found = dict[str, tuple[str, str, str]]
"""By name: level, what was found, remedy."""


def read(text: str) -> Found:
    checks: list[dict[str, Any]] = json.loads(text)["checks"]
    return {check["name"]: (check["level"], check["found"], check["remedy"]) for check in checks}


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Path]:
    """A running storage node for one agent."""
    with started("storage", "--chain", tmp_path / "chain", "--slots", "1") as process:
        read_until(process, "tokens")
        yield tmp_path / "chain"


def test_what_is_missing_is_named(chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All on one host. An agent of the slot that is asked with is not disturbed."""

    def doctor(*options: str | Path) -> tuple[int, Found]:
        code = run(["doctor", "--from-node", "--json", *map(str, options)])
        return code, read(capsys.readouterr().out)

    here: list[str | Path] = ["--chain", chain]
    with started("node", *here, "--slot", "1") as agent:
        read_until(agent, "joined")
        code, found = doctor(*here)
        wanted = ("rendezvous", "token", "way there", "way back", "clocks")
        assert (code, [found[name][0] for name in wanted]) == (0, ["ok"] * 5)
        code, found = doctor(*here, "--slot", "2")
        assert (code, found["token"][0], "the spool" in found["token"][2]) == (3, "fail", True)
        # What another host may see: the address of a process that is gone, or of somebody else, or another token's.
        token: list[str | Path] = ["--token", chain / "run" / "tokens" / "slot-1"]
        elsewhere = tmp_path / "elsewhere"
        (elsewhere / "run").mkdir(parents=True)
        address, fingerprint, pid = (chain / "run" / "storage").read_text().split()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            code, found = doctor(*here, "--port-range", f"{port}-{port}")
            assert (code, found["way back"][0], "choose another" in found["way back"][2]) == (3, "fail", True)
            (elsewhere / "run" / "storage").write_text(f"127.0.0.1:{port} {fingerprint} {pid}")
            code, found = doctor("--chain", elsewhere, *token)
            assert (code, found["way there"][0], "does not answer" in found["way there"][1]) == (3, "fail", True)
        code, found = doctor("--chain", elsewhere, *token)
        assert (code, found["way there"][0], "refused" in found["way there"][1]) == (3, "fail", True)
        (elsewhere / "run" / "storage").write_text(f"{address} {'0' * 64} {pid}")
        code, found = doctor("--chain", elsewhere, *token)
        assert (code, "is for an earlier storage node" in found["token"][1]) == (3, True)
        (elsewhere / "run" / "storage").write_text("what is this")
        code, found = doctor("--chain", elsewhere, *token)
        assert (code, found["rendezvous"][0], "token" in found) == (3, "fail", False)
        assert agent.poll() is None
    assert agent.returncode == 0
    code, found = doctor("--chain", tmp_path)
    assert (code, "no storage node runs on" in found["rendezvous"][1]) == (3, True)


@needs.bed
def test_a_firewall_on_either_way_is_told_apart(tmp_path: Path) -> None:
    with Bed(tmp_path, nodes=2) as bed:
        cluster = Cluster(bed)
        cluster.start_storage(cluster.storage_host)
        node = cluster.host(1)

        def doctor(*options: str) -> tuple[int, Found]:
            command = [sys.executable, "-m", "scichain_wf", "doctor", "--from-node", "--chain", str(cluster.chain)]
            done = node.run([*command, "--json", *options], check=False, env=environment(), cwd=ROOT)
            return done.returncode, read(done.stdout)

        there = ("--interface", "eth0", "--port-range", PORTS)
        code, found = doctor(*there)
        assert (code, {level for level, _, _ in found.values()} - {"warn"}) == (0, {"ok"})
        assert f"{node.address}:20000" in found["way back"][1]
        code, found = doctor()  # where an agent would listen on loopback
        assert (code, found["way there"][0], found["way back"][0]) == (3, "ok", "fail")
        assert "--interface" in found["way back"][2]
        node.batch(("nft", "-f", "-"), blocked(PORTS))
        code, found = doctor(*there)
        assert (code, found["way there"][0], found["way back"][0]) == (3, "ok", "fail")
        assert f"{node.address}:20000: no answer within" in found["way back"][1]
        assert "the spool" in found["way back"][2]
        bed.cut(node, cluster.storage_host)
        code, found = doctor(*there)
        assert (code, found["way there"][0], "way back" in found) == (3, "fail", False)
        assert "have connections from here to port" in found["way there"][2]
        bed.heal()
        cluster.stop()
        assert cluster.storage.wait() == 0
    assert not leftovers(os.getpid())


def blocked(ports: str) -> str:
    """What drops everything that comes to some ports, for `nft -f`."""
    return f"table inet wall {{\nchain input {{\ntype filter hook input priority -8\ntcp dport {ports} drop\n}}\n}}\n"
