"""Hashing files, against `openssl dgst -sha256` on the same bytes in the same moment.

    python -m tests.benchmarks.bench_hash
    python -m tests.benchmarks.bench_hash --mib 1024 --rounds 9

Each round is openssl on one file, `hash_file` on the same, and two files at once, as in `scichain-wf bench hash`.
Printed: medians of the ratios within a round. The targets (80-performance) are 0.95 for one file and 1.8 for two on
two cores. Where other work runs on the machine, wall time says little of one file: its ratio by CPU time says it then.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from scichain_wf import filehash
from scichain_wf.bench.hash import hash_both, in_turn, two_files


def openssl(path: Path) -> None:
    """The peer."""
    subprocess.run(["openssl", "dgst", "-sha256", path], stdout=subprocess.DEVNULL, check=True)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mib", type=int, default=1_024, help="size of each file")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with two_files(options.mib, 1) as paths:
        samples = in_turn(
            [
                ("openssl", lambda: openssl(paths[0])),
                ("one", lambda: filehash.hash_file(paths[0])),
                ("two", lambda: hash_both(paths)),
            ],
            options.rounds,
        )
    for name, files in (("one", 1), ("two", 2)):
        pairs = list(zip(samples["openssl"], samples[name], strict=True))
        wall, cpu = (statistics.median(files * peer[i] / ours[i] for peer, ours in pairs) for i in (0, 1))
        mib_per_s = files * options.mib / statistics.median(ours[0] for _, ours in pairs)
        print(f"{files} of {options.mib} MiB: {mib_per_s:6.0f} MiB/s, x openssl on one: {wall:.2f} (by CPU {cpu:.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
