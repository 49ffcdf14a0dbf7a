"""Durable records a second: this package with its chain, and two stores that one would otherwise take, in one run.

    python -m tests.benchmarks.bench_commit
    python -m tests.benchmarks.bench_commit --nodes 1 4 --transactions 20000 --rounds 3 --json commit.json

Each round measures in turn, on one file system: from `emit` in hook processes to the fsynced link (`bench.commit`);
etcd 3.4 (Debian's `etcd-server`), one durable put per record over HTTP, `--clients` of them in flight all the time;
SQLite with `synchronous=FULL`, one durable row per record, with a write-ahead log and with a rollback journal. The
peers get the same bytes: transactions of 1 KB. What they do not do: no hashes, signatures, votes or several copies.
The client of etcd speaks plain HTTP/1.1 over kept connections from one process, to take as little of the two cores as
it can; its CPU time, and etcd's, are printed per record like ours.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import selectors
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from scichain_wf.bench import commit, load
from scichain_wf.hooks.recorder import new_run_id
from scichain_wf.model.bodies import Kind
from scichain_wf.model.transaction import Envelope, TransactionKey, make_key

_STARTED_S: Final = 30.0
_CHUNK_BYTES: Final = 65_536


def records(count: int) -> list[bytes]:
    """Transactions as hooks emit them."""
    envelope = Envelope(bytes(32), new_run_id(), "node1")
    key: TransactionKey = make_key(1, bytes(10))
    return [envelope.encode(Kind.TASK, key, 1, load.body(f"p{number:07}", 1)) for number in range(count)]


def sqlite(directory: Path, journal: str, data: list[bytes]) -> float:
    """Rows a second."""
    with closing(sqlite3.connect(directory / f"{journal}.db", isolation_level=None)) as database:
        database.execute(f"PRAGMA journal_mode={journal}")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, data BLOB)")
        begun = time.perf_counter()
        for record in data:
            database.execute("INSERT INTO records (data) VALUES (?)", (record,))  # commits by itself
        took = time.perf_counter() - begun
        (rows,) = database.execute("SELECT count(*) FROM records").fetchone()
    assert rows == len(data)
    return len(data) / took


@contextmanager
def etcd(directory: Path) -> Iterator[tuple[tuple[str, int], int]]:
    """An etcd of one member; its address and process id."""
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as server:
            ports.append(server.getsockname()[1])
    client, peer = (f"http://127.0.0.1:{port}" for port in ports)
    arguments = ["etcd", "--data-dir", str(directory / "etcd"), "--listen-client-urls", client]
    arguments += ["--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    arguments += ["--initial-cluster", f"default={peer}", "--log-level", "error"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _STARTED_S
        while b'"health":"true"' not in _get(("127.0.0.1", ports[0]), "/health"):
            assert time.monotonic() < deadline, "etcd did not start"
            time.sleep(0.1)
        yield ("127.0.0.1", ports[0]), process.pid
    finally:
        process.terminate()
        process.wait()


def _get(address: tuple[str, int], path: str) -> bytes:
    try:
        with socket.create_connection(address, timeout=1) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(_CHUNK_BYTES), b""))
    except OSError:
        return b""


def _request(path: str, body: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: etcd\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


def puts(address: tuple[str, int], data: list[bytes], clients: int) -> float:
    """Durable puts a second, `clients` of them in flight."""
    waiting = [
        _request("/v3/kv/put", b'{"key":"%b","value":"%b"}' % (b64encode(b"r%d" % number), b64encode(record)))
        for number, record in enumerate(data)
    ]
    answered = 0
    with selectors.DefaultSelector() as selector:
        connections = [socket.create_connection(address) for _ in range(clients)]
        begun = time.perf_counter()
        for connection in connections:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(waiting.pop())
            selector.register(connection, selectors.EVENT_READ)
        while answered < len(data):
            for key, _ in selector.select():
                connection = key.fileobj  # type: ignore[assignment]
                answer = connection.recv(_CHUNK_BYTES)
                assert answer.startswith(b"HTTP/1.1 200"), answer
                assert answer.endswith(b"}"), answer
                answered += 1
                if waiting:
                    connection.sendall(waiting.pop())
        took = time.perf_counter() - begun
        for connection in connections:
            connection.close()
    counted = json.loads(_post(address, "/v3/kv/range", b'{"key":"AA==","range_end":"AA==","count_only":true}'))
    assert int(counted["count"]) >= len(data)
    return len(data) / took


def _post(address: tuple[str, int], path: str, body: bytes) -> bytes:
    with socket.create_connection(address) as connection:
        connection.sendall(_request(path, body).replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\n"))
        return b"".join(iter(lambda: connection.recv(_CHUNK_BYTES), b"")).partition(b"\r\n\r\n")[2]


def measured(options: argparse.Namespace) -> dict[str, list[float]]:
    """Samples by what was measured."""
    found: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)
        print(f"{name:32} {value:10.0f}", flush=True)

    peers = records(options.transactions)
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.directory, prefix="scichain-bench-") as base:
            for nodes in options.nodes:
                result = commit.run(
                    commit.Options(nodes, transactions=options.transactions, repeats=1, directory=Path(base))
                )
                for figure in result.figures:
                    add(f"{nodes} agents: {figure.name} ({figure.unit})", figure.samples[0])
            for journal in ("WAL", "DELETE"):
                add(f"SQLite, {journal} (tx/s)", sqlite(Path(base), journal, peers[: options.rows]))
            if shutil.which("etcd") is None:
                print("etcd is not installed (Debian: etcd-server): not measured")
                continue
            with etcd(Path(base)) as (address, pid):
                client, server = resource.getrusage(resource.RUSAGE_SELF), load.cpu_seconds({"etcd": pid})["etcd"]
                add("etcd (tx/s)", puts(address, peers, options.clients))
                after = resource.getrusage(resource.RUSAGE_SELF)
                server = load.cpu_seconds({"etcd": pid})["etcd"] - server
            mine = after.ru_utime + after.ru_stime - client.ru_utime - client.ru_stime
            add("CPU of etcd (µs/tx)", server / len(peers) * 1e6)
            add("CPU of its client (µs/tx)", mine / len(peers) * 1e6)
    return found


def main() -> int:
    """Measure, print the ratios, keep the samples if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--transactions", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=2_000, help="of SQLite, which takes them one by one")
    parser.add_argument("--clients", type=int, default=64, help="of etcd")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="where everything is written; default: for temporary files")
    parser.add_argument("--json", type=Path, help="where to put all samples")
    options = parser.parse_args()
    found = measured(options)
    for nodes in options.nodes:
        ours = found[f"{nodes} agents: emit to fsynced link (tx/s)"]
        for peer in ("etcd (tx/s)", "SQLite, WAL (tx/s)", "SQLite, DELETE (tx/s)"):
            ratios = sorted(mine / theirs for mine, theirs in zip(ours, found.get(peer, []), strict=False))
            if ratios:
                print(f"{nodes} agents / {peer[:-7]:16} {ratios[len(ratios) // 2]:6.2f}")
    if options.json is not None:
        options.json.write_text(
            json.dumps({"python": sys.version, "cpus": os.cpu_count(), "load": os.getloadavg(), "samples": found})
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
