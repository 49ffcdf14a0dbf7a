"""The test bed itself: each thing it promises to do to a node is seen from inside the nodes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.service_kit import is_alive, wait_until
from tests.testbed import Bed, Node, Slurm, needs
from tests.testbed.bed import leftovers

pytestmark = needs.bed

LISTEN = """
import socket, sys
server = socket.create_server(("", 7000))
print("listening", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(connection.recv(100))
"""
KNOCK = """
import socket, sys, time
started = time.monotonic()
try:
    with socket.create_connection((sys.argv[1], 7000), timeout=float(sys.argv[2])) as connection:
        connection.sendall(b"x")
        connection.recv(1)
except OSError as error:
    sys.exit(type(error).__name__)
print(time.monotonic() - started)
"""


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    with Bed(tmp_path, nodes=3) as made:
        yield made
    assert not leftovers(os.getpid())


def listen(node: Node) -> None:
    process = node.popen([sys.executable, "-c", LISTEN], stdout=subprocess.PIPE)
    assert process.popen.stdout is not None
    assert process.popen.stdout.readline() == "listening\n"


def knock(source: Node, target: Node, timeout_s: float = 1.0) -> float | None:
    """Seconds that a connection with one byte there and back took; None if it got no answer."""
    run = source.run([sys.executable, "-c", KNOCK, target.address, str(timeout_s)], check=False)
    if run.returncode != 0:
        assert run.stderr.strip() == "TimeoutError", run.stderr
        return None
    return float(run.stdout)


def test_nodes_have_their_own_ids_memory_and_network_and_share_a_directory(bed: Bed) -> None:
    own = {os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "net", "uts", "ipc", "mnt")}
    seen = set(own)
    for node in bed.nodes:
        for kind in ("pid", "net", "uts", "ipc", "mnt"):
            seen.add(node.run(["readlink", f"/proc/self/ns/{kind}"]).stdout.strip())
        assert node.run(["hostname"]).stdout == f"{node.name}\n"
        assert node.run(["cat", "/proc/1/comm"]).stdout.startswith("python")
        for place in ("/dev/shm", "/run", "/tmp"):
            node.run(["sh", "-c", f"ls {place} >{bed.shared}/seen; echo {node.name} >{place}/mine"])
            assert "mine" not in (bed.shared / "seen").read_text()
        (node.path("/dev/shm") / "from outside").touch()
        node.run(["test", "-e", "/dev/shm/from outside"])
        node.run(["sh", "-c", f"hostname >{bed.shared}/{node.name}"])
        assert node.run(["cat", bed.shared / "n1"]).stdout == "n1\n"
    assert len(seen) == len(own) * 4
    assert socket.gethostname() not in {node.name for node in bed.nodes}
    assert not Path("/dev/shm/mine").exists()


def test_an_exit_code_a_signal_and_the_environment_are_the_commands(bed: Bed) -> None:
    node = bed.nodes[0]
    assert node.run(["sh", "-c", "exit 7"], check=False).returncode == 7
    with pytest.raises(AssertionError, match="on n1 ended with 7: so what"):
        node.run(["sh", "-c", "echo so what; exit 7"])
    process = node.popen(["sleep", "1000"])
    assert process.pid in node.pids
    process.signal(signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    stopped = node.popen(["sh", "-c", "kill -STOP $$; exit 3"])
    status = Path(f"/proc/{stopped.pid}/stat")
    wait_until(lambda: status.read_text().rpartition(")")[2].split()[0] == "T", "stop")
    stopped.signal(signal.SIGCONT)
    assert stopped.wait() == 3
    shown = node.popen(["sh", "-c", "echo $ONE; pwd"], environment={**os.environ, "ONE": "a b"}, stdout=subprocess.PIPE)
    assert shown.output() == f"a b\n{Path.cwd()}\n"


def test_a_partition_a_cut_and_loss_are_silent_and_heal(bed: Bed) -> None:
    one, two, three = bed.nodes
    for node in bed.nodes:
        listen(node)
    assert knock(one, three) is not None
    bed.partition([three])
    assert knock(one, three) is None
    assert knock(three, two) is None
    assert knock(one, two) is not None
    bed.heal()
    assert knock(three, two) is not None
    bed.cut(one, two)
    # Neither direction gets a connection, but what two sends arrives: the other side sees it half open.
    assert knock(one, two) is None
    assert knock(two, three) is not None
    waiting = two.popen([sys.executable, "-c", KNOCK, one.address, "30"], stdout=subprocess.PIPE)
    wait_until(lambda: "SYN-RECV" in one.run(["ss", "-tan"]).stdout, "half a connection")
    bed.heal()
    assert float(waiting.output()) > 0
    two.lose(100)
    assert knock(one, two) is None
    bed.heal()
    assert knock(one, two) is not None


@needs.taps
def test_a_slow_wire_delays_and_a_rate_limits(bed: Bed) -> None:
    one, two, _ = bed.nodes
    listen(two)
    assert knock(one, two) is not None
    bed.delay(two, 60, jitter_ms=5, duplicates_percent=10)
    slow = knock(one, two, 5.0)
    assert slow is not None
    assert slow > 0.2  # two round trips
    bed.undelay(two)
    fast = knock(one, two)
    assert fast is not None
    assert fast < slow
    bed.rate(one, 512)
    assert "rate 512Kbit" in one.run(["tc", "qdisc", "show", "dev", "eth0"]).stdout
    assert knock(one, two) is not None
    bed.unrate(one)
    assert "tbf" not in one.run(["tc", "qdisc", "show", "dev", "eth0"]).stdout


def test_kill_ends_all_processes_and_leaves_the_memory_power_off_leaves_nothing(bed: Bed) -> None:
    one, two, _ = bed.nodes
    one.run(["touch", "/dev/shm/kept"])
    process = one.popen(["sh", "-c", "sleep 1000 & sleep 1000"])
    one.kill()
    assert process.wait() == -signal.SIGKILL
    assert not one.pids
    one.run(["test", "-e", "/dev/shm/kept"])
    process = one.popen(["sleep", "1000"])
    bed.partition([one])
    one.power_off()
    assert process.wait() == -signal.SIGKILL
    with pytest.raises(AssertionError, match="n1 is switched off"):
        one.run(["true"])
    one.boot()
    assert one.run(["test", "-e", "/dev/shm/kept"], check=False).returncode == 1
    listen(one)
    assert knock(two, one) is None  # the partition outlives the boot
    bed.heal()
    assert knock(two, one) is not None


@needs.cgroups
def test_a_frozen_node_does_nothing_until_it_thaws(bed: Bed) -> None:
    one, two, _ = bed.nodes
    listen(one)
    one.freeze()
    assert knock(two, one) is None
    waiting = two.popen([sys.executable, "-c", KNOCK, one.address, "30"], stdout=subprocess.PIPE)
    one.thaw()
    assert float(waiting.output()) > 0
    one.freeze()  # and a frozen one can be removed


@needs.cgroups
def test_memory_and_shared_memory_are_bounded(tmp_path: Path) -> None:
    with Bed(tmp_path, nodes=1, shm_bytes=1 << 20, memory_bytes=64 << 20) as bed:
        node = bed.nodes[0]
        full = node.run(["dd", "if=/dev/zero", "of=/dev/shm/x", "bs=64k", "count=32"], check=False)
        assert "No space left" in full.stderr
        greedy = node.run([sys.executable, "-c", "x = b'1' * (256 << 20); print(len(x))"], check=False)
        assert greedy.returncode == -signal.SIGKILL
        node.run(["true"])
    assert not leftovers(os.getpid())


@needs.pfs
def test_the_pfs_is_shared_and_every_node_has_its_own_cache_of_it(bed: Bed) -> None:
    one, two, _ = bed.nodes
    path = bed.mount_pfs(one)
    assert bed.mount_pfs(two) == path
    one.run(["sh", "-c", f"echo first >'{path}/file'"])
    assert two.run(["cat", path / "file"]).stdout == "first\n"
    assert (bed.directory / "pfs.real" / "file").read_text() == "first\n"
    assert not (path / "file").exists()  # not mounted outside the nodes
    devices = {node.run(["stat", "--format=%d", path]).stdout for node in (one, two)}
    assert len(devices) == 2


@needs.slurm
def test_slurm_runs_a_job_on_every_node_and_after_one_booted(bed: Bed) -> None:
    with Slurm(bed) as slurm:
        assert sorted(slurm.run(["srun", "--nodes=2", "hostname"]).stdout.split()) == ["n2", "n3"]
        slurm.wait_idle()  # else the controller waits a minute for the end of a job that it was not told of
        bed.nodes[1].power_off()
        bed.nodes[1].boot()
        slurm.start(bed.nodes[1])
        slurm.wait_idle()
        assert slurm.run(["srun", "--nodelist=n2", "hostname"]).stdout == "n2\n"
    assert all(not node.pids for node in bed.nodes)


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from tests.testbed import Bed
with Bed(Path(sys.argv[1]), nodes=2) as bed:
    bed.nodes[0].popen(["sleep", "1000"])
    bed.delay(bed.nodes[1], 1)
    bed.nodes[1].freeze()
    print(bed.nodes[0].pid, bed.nodes[1].pid, flush=True)
    signal.pause()
"""


@needs.cgroups
@needs.taps
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_of_a_bed_outlives_its_process(tmp_path: Path, number: signal.Signals) -> None:
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdout is not None
    pids = process.stdout.readline().split()
    process.send_signal(number)
    process.wait()
    process.stdout.close()
    with Bed(tmp_path / "next", nodes=1):
        pass  # sweeps what is frozen: not even SIGKILL ends that
    wait_until(lambda: not leftovers(process.pid) and not any(is_alive(int(pid)) for pid in pids), "end of the bed")


def test_a_bed_that_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="201 nodes"):
        Bed(tmp_path, nodes=201)
    bed = Bed(tmp_path, nodes=3)
    bed.nodes[1].shm_bytes = -1
    with pytest.raises(RuntimeError, match="first process did not start"):
        bed.__enter__()
    assert not leftovers(os.getpid())
