"""The command line of `examples/start.py`."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from starter import checks, quickstart
from starter.environment import Environment, SetupError

ROOT = Path(__file__).resolve().parents[2]
INTERRUPTED = 130


def interrupt(_signum: int, _frame: FrameType | None) -> None:
    """Let SIGTERM end us the way Ctrl-C does: children stopped, the environment repairable."""
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run one of the two commands; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="start.py",
        description="Set scichain-wf up in its own environment, then record, verify and tamper with a small "
        "workflow (or, with --test, run every test).",
    )
    parser.add_argument("--test", action="store_true", help="run all tests and checks instead of the demonstration")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", metavar="DIR", help="environment (default: .venv)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        environment = Environment(options.venv.expanduser().absolute(), ROOT)
        environment.ensure({"tox"} if options.test else {"snakemake"})
        if options.test:
            return checks.run(environment, ROOT)
        return quickstart.run(environment, ROOT / "examples" / "quickstart", ROOT / ".quickstart")
    except SetupError as error:
        print(f"\nstart.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstart.py: interrupted. The same command repairs what was left half done.", file=sys.stderr)
        return INTERRUPTED
