"""Write the golden vectors.

    python -m tests.golden.generate [--accept]

A vector that exists and would change is not overwritten without `--accept`: a changed byte means that chains which
exist can no longer be read, or that signatures in them no longer hold.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from tests.golden import vectors

DIRECTORY: Final = Path(__file__).parent


def differences(directory: Path = DIRECTORY) -> dict[str, str]:
    """Vectors that are not as they would be written: name → `new`, `changed` or `gone`."""
    made = vectors.files()
    stored = {path.name for suffix in ("json", "bin") for path in directory.glob(f"*.{suffix}")}
    found = dict.fromkeys(sorted(stored - made.keys()), "gone")
    for name, data in made.items():
        if name not in stored:
            found[name] = "new"
        elif (directory / name).read_bytes() != data:
            found[name] = "changed"
    return found


def write(directory: Path, *, accept: bool) -> int:
    """Write what is missing, and with `accept` what changed; returns the exit code."""
    found = differences(directory)
    kept = [f"{name}: {how}" for name, how in found.items() if how != "new"]
    if kept and not accept:
        listed = "".join(f"  {line}\n" for line in kept)
        sys.stderr.write(f"these vectors would change; say --accept if the format may change:\n{listed}")
        return 1
    made = vectors.files()
    for name, how in found.items():
        if how == "gone":
            (directory / name).unlink()
        else:
            (directory / name).write_bytes(made[name])
    sys.stdout.write(f"{len(made)} vectors, {len(found)} written or removed\n")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--accept", action="store_true", help="overwrite vectors that changed")
    return write(DIRECTORY, accept=parser.parse_args(arguments).accept)


if __name__ == "__main__":
    sys.exit(main())
