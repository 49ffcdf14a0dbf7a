"""Is every alteration found, and nothing found where nothing is altered?

    python -m tests.integration.detection --runs 10000 --seed 1
    python -m tests.integration.detection --clean 200 --seed 1

Each run of the first takes a chain of clean runs, alters a random record or field of the ledger or a random recorded
file, and asks the auditor; then everything is put right. The second audits clean chains of different shapes, of which
none may have a finding that is more than information. Exit status 1 if either promise is broken.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from scichain_wf.audit import engine
from scichain_wf.audit.files import FilesFound, compare_all
from scichain_wf.audit.result import Verdict
from scichain_wf.ledger import rawread
from scichain_wf.ledger.isolate import Inline
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.walk import survey
from tests.chains import InProcess
from tests.integration import byteflips, changed_ledger, mutations
from tests.integration.clean_runs import CleanRuns

RUNS_PER_CHAIN = 250
_FILES_SHARE = 0.3

Alter = Callable[[Path, random.Random], None]


def flip(path: Path, rng: random.Random) -> None:
    """One bit of a file."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def append(path: Path, rng: random.Random) -> None:
    """Some bytes more."""
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randint(1, 9)))


def cut(path: Path, rng: random.Random) -> None:
    """Some bytes less."""
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def delete(path: Path, _: random.Random) -> None:
    """No file."""
    path.unlink()


def to_directory(path: Path, _: random.Random) -> None:
    """A directory where a file was."""
    path.unlink()
    path.mkdir()


def to_link(path: Path, _: random.Random) -> None:
    """A link to something else."""
    path.unlink()
    path.symlink_to("/etc/hostname")


ALTERS: tuple[Alter, ...] = (flip, append, cut, delete, to_directory, to_link)


def compared(layout: ChainLayout) -> FilesFound:
    """Every recorded file against the disk, in this process."""
    try:
        return compare_all(Inline(), layout, survey(layout.live_ledger()), None, {}, 1)
    finally:
        rawread.release()


def alter_file(chain: CleanRuns, rng: random.Random) -> tuple[str, bool]:
    """Alter one recorded file and put it right; what was done, and whether it was found."""
    path = rng.choice(sorted((chain.root / "out").glob("*.txt")))
    content, alter = path.read_bytes(), rng.choice(ALTERS)
    alter(path, rng)
    found = compared(chain.layout)
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    named = any(str(path) in problem.subject for problem in found.problems.kept)
    return f"file: {(alter.__doc__ or '').rstrip('.').lower()}", named


def alter_record(ledger: changed_ledger.Ledger, rng: random.Random) -> tuple[str, bool]:
    """Alter the ledger and put it right; what was done, and whether it was found."""
    mutation = mutations.make(ledger, rng)
    with changed_ledger.applied(ledger, mutation):
        found, _ = mutations.judge(ledger, mutation)
    return f"ledger: {mutation.kind}", found


def detect(directory: Path, runs: int, seed: int) -> tuple[Counter[str], Counter[str]]:
    """(found, missed) by kind, of `runs` alterations."""
    byteflips.remember_pure_functions()
    rng, found, missed = random.Random(seed), Counter[str](), Counter[str]()
    for begun in range(0, runs, RUNS_PER_CHAIN):
        root = directory / str(begun)
        chain = CleanRuns(root, rng)
        ledger = changed_ledger.Ledger(chain.layout)
        mutations.take_counts(ledger)
        for _ in range(min(RUNS_PER_CHAIN, runs - begun)):
            if rng.random() < _FILES_SHARE:
                ledger.close()
                kind, is_found = alter_file(chain, rng)
            else:
                kind, is_found = alter_record(ledger, rng)
            (found if is_found else missed)[kind] += 1
        ledger.close()
        shutil.rmtree(root)
    return found, missed


def alarms(directory: Path, chains: int, seed: int) -> list[str]:
    """Findings on clean chains that are more than information."""
    rng, found = random.Random(seed), []
    for number in range(chains):
        root = directory / f"clean {number}"
        with patch.object(engine, "Pool", InProcess):
            result = engine.audit(CleanRuns(root, rng).layout.root)
        found += [f"chain {number}: {finding.line()}" for finding in result.findings if finding.severity != "info"]
        if result.verdict is not Verdict.VERIFIED and not found:
            found.append(f"chain {number}: {result.sentence()}")
        shutil.rmtree(root)
    return found


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--clean", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="scichain-detection-") as name:
        found, missed = detect(Path(name), options.runs, options.seed)
        false = alarms(Path(name), options.clean, options.seed)
    for kind in sorted(found | missed):
        print(f"{kind:<70} {found[kind]:>6} found {missed[kind]:>4} missed")
    print(f"seed {options.seed}: {found.total()} of {options.runs} alterations found")
    print(f"seed {options.seed}: {len(false)} findings on {options.clean} clean chains")
    print(*false[:20], sep="\n")
    print(f"{time.monotonic() - begun:.0f} s")
    return 1 if missed or false else 0


if __name__ == "__main__":
    sys.exit(main())
