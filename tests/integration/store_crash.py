"""Kills the writer, and fails its system calls, and looks at what is left.

    python -m tests.integration.store_crash --kills 50 --faults        (everything; some minutes)

A real process (`store_child`) appends and acknowledges through a pipe after each commit. It is killed with SIGKILL at a
random moment inside a chosen phase: `put` (filling the batch), `commit` (inside LMDB's commit, writing pages) or
`fsync` (inside fdatasync, seen in /proc/PID/syscall right before the kill). With strace it is also killed on entering
each write and sync in turn, and each file system call is failed once. After each: the chain opens, holds every
acknowledged append and at most the one batch after it, whole, and every entry of every database is what a writer that
was never disturbed would have written.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import scichain_wf
from scichain_wf.crypto import merkle
from scichain_wf.ledger import keys
from scichain_wf.ledger.keys import OUTPUT, POSITION, PROPOSAL, U64
from scichain_wf.ledger.layout import DATA_FILE
from scichain_wf.ledger.store import ChainStore
from tests.builders import ChainBuilder
from tests.integration import store_child
from tests.integration.store_child import BASE, COMMIT, PUT
from tests.unit.ledger.kit import new_chain

PHASES = ("put", "commit", "fsync")
BATCH = 3
_SYNC_CALLS = {"74", "75"}  # fsync, fdatasync on x86-64; other machines classify them as `commit`
_TIMEOUT_S = 60

KILL_CALLS = ("pwrite64", "pwritev", "fdatasync")
WRITES = ("pwrite64", "pwritev", "writev", "write", "fdatasync", "fsync")
OTHERS = ("pread64", "lseek", "ftruncate", "fallocate", "msync", "fstat", "newfstatat", "statx")
FAULTS = [
    *((call, error) for call in WRITES for error in ("EIO", "ENOSPC")),
    *((call, "EIO") for call in OTHERS),
    *((call, "ENOSPC") for call in ("ftruncate", "mkdir", "link", "linkat", "rename", "renameat")),
    *((call, "ENOMEM") for call in ("mmap", "mremap")),
    *(("openat", error) for error in ("EACCES", "EMFILE", "EIO", "ENOSPC")),
    ("unlink", "EIO"), ("unlinkat", "EIO"), ("rmdir", "EIO"), ("fcntl", "EIO"), ("madvise", "EINVAL"),
]  # fmt: skip


Dump = dict[str, dict[bytes, bytes]]


class Broken(AssertionError):
    """What was left is not what was promised."""


def holds(condition: bool, message: str) -> None:
    if not condition:
        raise Broken(message)


def dump(store: ChainStore) -> Dump:
    """Every entry of every database."""
    found: Dump = {}
    with store._env.begin() as txn:
        for name in keys.DATABASES:
            with txn.cursor(getattr(store._dbs, name)) as cursor:
                found[name] = {bytes(key): bytes(value) for key, value in cursor}
    return found


def height_of(name: str, key: bytes, value: bytes) -> int:
    """Height of the link that brought an entry."""
    if name == keys.META:
        return 0
    if name == keys.TREE:
        return (int.from_bytes(key[1:]) + 1 << key[0]) - 1
    if name == keys.TRANSACTIONS:
        return int(POSITION.unpack(value)[0])
    if name == keys.ARTIFACTS:
        return int(OUTPUT.unpack(key[-OUTPUT.size :])[0])
    if name == keys.RUNS:
        return int(POSITION.unpack(key[16:])[0])
    if name == keys.PROPOSALS:
        return int(PROPOSAL.unpack(value)[0])
    return int(U64.unpack(value if name == keys.EPOCHS else key)[0])


@dataclass
class Reference:
    """The blocks, an undisturbed chain of all of them, and an empty one to begin from."""

    home: Path
    candidates: Path
    genesis: Path
    base: Path
    whole: Dump
    blocks: int

    @classmethod
    def make(cls, home: Path, seed: int, blocks: int, transactions_max: int = 60) -> Reference:
        builder, store = new_chain(home / "base", seed=seed)
        store.close()
        shutil.copytree(home / "base", home / "reference")
        made = candidates(builder, seed, blocks, transactions_max)
        (home / "candidates").write_bytes(pickle.dumps(made))
        (home / "genesis").write_bytes(ChainBuilder(1, seed + 1).genesis.encode())
        with ChainStore.open(home / "reference") as store:
            for candidate in made:
                with store.begin() as batch:
                    store_child.append(batch, candidate)
            whole = dump(store)
        return cls(home, home / "candidates", home / "genesis", home / "base", whole, blocks)

    def check(self, directory: Path, acknowledged: int) -> int:
        """Hold what is in `directory` against the promise; returns the number of links."""
        with ChainStore.open(directory) as store:
            with store.view() as view:
                size = view.size
                hashes = [merkle.leaf_hash(view.link_bytes(height)) for height in range(size)]
                holds(view.root() == merkle.root(hashes), "the tree is not that of the links")
                for height in range(1, size):
                    holds(view.link(height).previous == hashes[height - 1], f"link {height} does not follow")
            holds(size >= acknowledged, f"{acknowledged} links were acknowledged, {size} are there")
            whole = (acknowledged, min(acknowledged + BATCH, BASE + self.blocks))
            holds(size in whole, f"{size} links: part of a batch")
            found = dump(store)
        for name, entries in self.whole.items():
            expected = {key: value for key, value in entries.items() if height_of(name, key, value) < size}
            holds(found[name] == expected, f"{name} at {size} links is not what an undisturbed writer leaves")
        return size


def candidates(builder: ChainBuilder, seed: int, blocks: int, transactions_max: int) -> list[tuple[bytes, bytes, int]]:
    """Certified blocks of random size, with repeated and clashing transactions among them."""
    rng, made, past = random.Random(seed), [], [builder.run_start()]
    for number in range(blocks):
        outputs = [f"out/{rng.randrange(500)}" for _ in range(rng.randint(1, transactions_max))]
        tasks = [
            builder.task(f"t{number}", [], [builder.artifact(name, rng.randbytes(4))], command="x" * 900)
            for name in outputs
        ]
        again = rng.sample(past, min(len(past), rng.randrange(3)))
        past += rng.sample(tasks, 1)
        candidate = builder.quorum(builder.block(1, [*tasks, *again]))
        made.append((candidate.block.encode(), candidate.certificate or b"", candidate.epoch))
    return made


@contextmanager
def child(reference: Reference, directory: Path, **task: object) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A writer that is ready to begin, and the file in which it publishes its phase."""
    phase = reference.home / "phase"
    phase.write_bytes(b"\0")
    spec = {
        "directory": str(directory), "candidates": str(reference.candidates), "genesis": str(reference.genesis),
        "phase": str(phase), "count": reference.blocks, "batch": BATCH, "copy": "", "create": "", "small_map": False,
    }  # fmt: skip
    environment = dict(os.environ, PYTHONPATH=str(Path(scichain_wf.__file__).parents[1]))
    process = subprocess.Popen(
        [sys.executable, store_child.__file__],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(spec | task).encode() + b"\n")
        process.stdin.flush()
        holds(process.stdout.readline() == b"ready\n", "the writer did not start")
        yield process, phase
    finally:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen[bytes]) -> tuple[list[str], str]:
    """What the writer said until it ended: acknowledgements and other lines."""
    out, err = process.communicate(timeout=_TIMEOUT_S)
    return out.decode().splitlines(), err.decode()


def last_acknowledged(lines: list[str], before: int) -> int:
    return max([before, *(int(line) for line in lines if line.isdigit())])


# --- kills --------------------------------------------------------------------------------------------
def kill_once(reference: Reference, directory: Path, phase: str, size: int, rng: random.Random) -> tuple[str, int]:
    """One kill, aimed at `phase`; the phase it hit, and the number of links left."""
    with child(reference, directory) as (process, published):
        assert process.stdin is not None
        memory = os.open(published, os.O_RDONLY)
        calls = Path(f"/proc/{process.pid}/syscall")
        process.stdin.write(b"go\n")
        process.stdin.flush()
        commits, hit, deadline = rng.randint(0, 4), "idle", time.monotonic() + 10
        previous = 0
        while hit != phase and process.poll() is None and time.monotonic() < deadline:
            now = os.pread(memory, 1, 0)[0]
            commits -= previous == COMMIT != now
            previous = now
            if commits >= 0:
                continue
            if now == {"put": PUT, "commit": COMMIT, "fsync": COMMIT}[phase]:
                until = time.perf_counter() + rng.random() * {"put": 3e-3, "commit": 4e-4, "fsync": 0}[phase]
                while time.perf_counter() < until:
                    pass
                hit = current(memory, calls)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=_TIMEOUT_S)
        os.close(memory)
        lines, err = finish(process)
    holds(process.returncode == -signal.SIGKILL or lines[-1:] == ["done"], f"the writer ended by itself: {lines} {err}")
    acknowledged = last_acknowledged(lines, size)
    return (hit if process.returncode else "ended"), reference.check(directory, acknowledged)


def current(memory: int, calls: Path) -> str:
    """The phase right now."""
    now = os.pread(memory, 1, 0)[0]
    if now != COMMIT:
        return "put" if now == PUT else "idle"
    try:
        return "fsync" if calls.read_text().split()[0] in _SYNC_CALLS else "commit"
    except (OSError, IndexError):
        return "commit"


def kills(reference: Reference, each: int, seed: int, phases: tuple[str, ...] = PHASES) -> Counter[str]:
    """Kill until every one of `phases` was hit `each` times; the histogram of where."""
    rng = random.Random(seed)
    hits: Counter[str] = Counter()
    directory, size = reference.home / "killed", 0
    for attempt in range(20 * each + 60):
        wanted = [phase for phase in phases if hits[phase] < each]
        if not wanted:
            return hits
        if not size or size > BASE + reference.blocks - 30:
            shutil.rmtree(directory, ignore_errors=True)
            shutil.copytree(reference.base, directory)
            size = BASE
        hit, size = kill_once(reference, directory, wanted[attempt % len(wanted)], size, rng)
        hits[hit] += 1
    raise Broken(f"not every phase could be hit: {dict(hits)}")


# --- system calls, by strace --------------------------------------------------------------------------
def strace_works() -> bool:
    """Whether strace is installed and may trace."""
    try:
        run = subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], check=False, capture_output=True)
    except OSError:
        return False
    return run.returncode == 0


def disturb(reference: Reference, call: str, what: str, number: int) -> tuple[bool, str]:
    """One run in which the writer's `number`-th `call` has `what` injected; whether it got that far, and its end."""
    home = reference.home / "disturbed"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    shutil.copytree(reference.base, home / "ledger")
    log, killing = reference.home / "strace.log", what.startswith("signal")
    with child(
        reference, home / "ledger", count=4 * BATCH, copy="copy", create="second", small_map=True
    ) as (process, _):
        command = ["strace", "-qq", "-f", "-o", str(log), "-p", str(process.pid), "-e", f"trace={call}"]
        if call == "mmap":
            command += ["-P", str(home / "ledger" / DATA_FILE)]  # Python's own memory is not the store's concern
        tracer = subprocess.Popen([*command, "-e", f"inject={call}:{what}:when={number}"], stderr=subprocess.PIPE)
        deadline = time.monotonic() + _TIMEOUT_S
        while "TracerPid:\t0\n" in Path(f"/proc/{process.pid}/status").read_text():
            holds(tracer.poll() is None and time.monotonic() < deadline, "strace did not attach")
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        lines, err = finish(process)
        tracer.communicate(timeout=_TIMEOUT_S)
    reached = "INJECTED" in log.read_text() or (killing and process.returncode == -signal.SIGKILL)
    ends = {0: "went on", 3: "refused", 5: "acknowledgement lost", -signal.SIGKILL: "killed"}
    end = ends.get(process.returncode, "")
    holds(end not in ("", "killed") or (killing and end == "killed"), f"{call} {what} {number}: {lines} {err}")
    holds(end != "refused" or "Ledger" in lines[-1], f"{call} {what} {number}: {lines}")
    reference.check(home / "ledger", last_acknowledged(lines, BASE))
    for name, said in (("copy", "copied"), ("second", "created")):
        if said in lines or (home / name / DATA_FILE).exists():  # whole, or not there at all
            with ChainStore.open(home / name) as store, store.view() as view:
                holds(view.size == (BASE + 4 * BATCH if name == "copy" else 1), f"{call} {what} {number}: {name}")
    return reached, f"{end}: {lines[-1].partition(':')[0]}" if end == "refused" else end


def disturbances(reference: Reference, faults: list[tuple[str, str]], first: int | None = None) -> Counter[str]:
    """Each (call, injection) at its first, second, ... occurrence until it is not reached; how the writer ended."""
    ends: Counter[str] = Counter()
    for call, what in faults:
        injection = what if what.startswith("signal") else f"error={what}"
        number = 0
        while first is None or number < first:
            number += 1
            reached, end = disturb(reference, call, injection, number)
            if not reached:
                break
            ends[f"{call} {what}: {end}"] += 1
    return ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0, help="in each phase")
    parser.add_argument("--faults", action="store_true", help="each system call failed once, and killed at each write")
    parser.add_argument("--call", action="append", help="only this system call (repeatable)")
    parser.add_argument("--blocks", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", type=Path, help="on the file system to test")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as temporary:
        reference = Reference.make(Path(temporary), options.seed, options.blocks)
        if options.kills:
            print(f"SIGKILL, seed {options.seed}:", dict(kills(reference, options.kills, options.seed)), flush=True)
        if options.faults:
            faults = [*((call, "signal=KILL") for call in KILL_CALLS), *FAULTS]
            for fault in faults:
                if not options.call or fault[0] in options.call:
                    for end, number in disturbances(reference, [fault]).items():
                        print(f"{number:>5}  {end}", flush=True)


if __name__ == "__main__":
    main()
