"""Every command that looks into a chain, on chains that are none, broken, in use or full of hostile names.

`python -m tests.integration.bad_chains DIR` runs each in this one process, as users' shells do, and prints what each
came to as one JSON line. A damaged ledger that ended this process would end the list.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scichain_wf import audit
from scichain_wf.cli import run
from scichain_wf.ledger import keys
from scichain_wf.ledger.layout import DATA_FILE, ChainLayout
from tests.builders import ChainBuilder
from tests.chains import DiskChain, small_chain, write_files
from tests.unit.audit.support import put, started

ROOT = Path(__file__).parents[2]
HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e'\"&"
LONG = "x" * 1_000_000
FILE = "out/3.txt"
_PAGE = 4_096


def commands(chosen: str) -> list[list[str]]:
    """All that look into a chain; `chosen` is a run's id."""
    return [
        ["verify"], ["verify", FILE], ["verify", chosen], ["verify", "--json"],
        ["verify", FILE, "--receipt", "../receipt.json"],
        ["audit", "--html", "../report.html", "--sarif", "../report.sarif"],
        ["audit", FILE, "--baseline", chosen, "--json"],
        ["lineage", FILE], ["lineage", FILE, "--down"], ["lineage", FILE, "--dot"],
        ["diff", chosen, chosen], ["diff", FILE, FILE, "--json"],
        ["receipt", FILE], ["runs", "list"], ["runs", "show", chosen],
        ["ledger", "show"], ["ledger", "show", "3"], ["ledger", "proof", "3"], ["ledger", "fsck"],
    ]  # fmt: skip


def _cut(size: int) -> Callable[[Path, Path], None]:
    def cut(_project: Path, data: Path) -> None:
        os.truncate(data, size)

    return cut


def _page(number: int, content: bytes) -> Callable[[Path, Path], None]:
    def overwrite(_project: Path, data: Path) -> None:
        with data.open("r+b") as file:
            file.seek(number * _PAGE)
            file.write(content * (_PAGE // len(content)))

    return overwrite


def _half_copied(project: Path, data: Path) -> None:
    data.unlink()
    (project / ".scichain" / "checkpoint").unlink()


def _newer(project: Path, _data: Path) -> None:
    put(project / ".scichain", [(keys.META, keys.META_FORMAT, b"2")])


def _directory(_project: Path, data: Path) -> None:
    data.unlink()
    data.mkdir()


def _fifo(_project: Path, data: Path) -> None:
    data.unlink()
    os.mkfifo(data)


DAMAGES: dict[str, Callable[[Path, Path], None]] = {
    "cut to nothing": _cut(1), "cut to its first pages": _cut(2 * _PAGE), "cut in the middle": _cut(40 * _PAGE),
    "noise in the middle": _page(9, os.urandom(64)), "a page of zeros": _page(20, b"\0"),
    "noise in front": _page(0, b"\xff"), "half copied": _half_copied, "newer format": _newer,
    "a directory": _directory, "a pipe": _fifo,
}  # fmt: skip


def attempted(arguments: list[str]) -> tuple[int | str, str, str]:
    """Exit code (or what was raised), standard output and standard error of one command."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    kept = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err
    code: int | str
    try:
        code = run(arguments)
    except BaseException as error:  # noqa: BLE001 - it is what is asked for
        code = f"{type(error).__name__}: {error}"
    finally:
        sys.stdout, sys.stderr = kept
    return code, *(stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err))  # type: ignore[return-value]


def listing(project: Path) -> list[tuple[str, int, int]]:
    """Every file below, with size and time."""
    found = ((str(path), path.lstat()) for path in sorted(project.rglob("*")))
    return [(name, status.st_size, status.st_mtime_ns) for name, status in found]


def attempt(name: str, project: Path, arguments: list[list[str]]) -> None:
    """Each command on one project: what it came to, and whether it wrote there."""
    os.chdir(project)
    before = listing(project)
    for each in arguments:
        code, out, err = attempted(each)
        shown = [argument[:40] for argument in each]
        answer = {"chain": name, "command": shown, "code": code, "out": out[:100_000], "err": err}
        print(json.dumps(answer | {"wrote": listing(project) != before}), flush=True)


@contextmanager
def in_use(root: Path) -> Iterator[None]:
    """Somebody has the chain open, in the middle of a write."""
    program = (
        "import sys; from pathlib import Path; from scichain_wf.ledger.store import ChainStore\n"
        "with ChainStore.open(Path(sys.argv[1])) as store, store.begin():\n    print('open', flush=True); input()"
    )
    arguments = [sys.executable, "-c", program, str(ChainLayout(root).live_ledger())]
    with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        yield
        writer.kill()


def hostile(project: Path) -> str:
    """A chain on which every text that a workflow chooses is hostile; its run's id."""
    project.mkdir()
    with started(project / ".scichain") as chain:
        build = chain.builder
        more: dict[str, object] = {"params": {"text": HOSTILE}, "user": HOSTILE, "node": HOSTILE, "command": HOSTILE}
        name = f"out/{HOSTILE}.txt"
        read = [build.artifact("raw", b"1")]
        tasks = [build.task(f"{HOSTILE} {n}", read, [build.artifact(f"{name}{n}", b"1")], **more)
                 for n in range(3)]  # fmt: skip
        chain.block(1, [*tasks, build.task("end", [], [build.artifact(FILE, b"1")])])
        chain.checkpoint()
    return build.run.hex()


def main() -> None:
    """Command line."""
    base = Path(sys.argv[1]).resolve()
    whole = base / "whole"
    whole.mkdir()
    chain: DiskChain = small_chain(whole / ".scichain", tasks=60)
    write_files(chain)
    chain.close()
    chosen = chain.builder.run.hex()
    (base / "receipt.json").write_bytes(audit.make_receipt(whole / ".scichain", whole / FILE))
    for number, (name, damage) in enumerate(DAMAGES.items()):
        project = base / str(number)
        shutil.copytree(whole, project)
        damage(project, ChainLayout(project / ".scichain").live_ledger() / DATA_FILE)
        attempt(name, project, commands(chosen))
    with in_use(whole / ".scichain"):
        attempt("in use", whole, commands(chosen))
    named = [[*command, LONG] for command in (["verify"], ["audit"], ["lineage"], ["receipt"], ["runs", "show"])]
    named += [["diff", LONG, chosen], ["verify", "x\x1b[2J"], ["lineage", "<b>\x1b[2J"], ["diff", "\x1b[2J", chosen]]
    named += [["verify", FILE, option, LONG] for option in ("--receipt", "--trust-root", "--checkpoint", "--chain")]
    attempt("long and hostile names", whole, named)
    foreign = DiskChain(base / "foreign" / ".scichain", ChainBuilder(seed=77))
    foreign.checkpoint()
    foreign.close()
    root, note = ["--trust-root", str(foreign.layout.trust_root)], ["--checkpoint", str(foreign.layout.checkpoint)]
    receipt = ["verify", FILE, "--receipt", "../receipt.json", *root]
    others = [[*each, *root, *note] for each in (["verify"], ["verify", FILE], ["audit"])]
    attempt("another chain's", whole, [receipt, *others])
    attempt("hostile records", base / "hostile", commands(hostile(base / "hostile")))


if __name__ == "__main__":
    main()
