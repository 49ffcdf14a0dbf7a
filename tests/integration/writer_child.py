"""A process that wants to be the writer of a chain: `python -m tests.integration.writer_child CHAIN LEASE_S`.

It waits for a line on standard input, claims, says what came of it as JSON, renews its lease from its thread, answers
every further line with whether it may still promise anything, and ends in order when its input ends.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

from scichain_wf.errors import ScichainError
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.node import chain, writers

NOBODY = 65_534


def main() -> int:
    layout, lease_s = ChainLayout(Path(sys.argv[1])), float(sys.argv[2])
    how, sizes = sys.stdin.readline(), resource.getrlimit(resource.RLIMIT_FSIZE)
    if how == "nobody\n" and os.geteuid() == 0:
        os.setuid(NOBODY)
    if how == "full\n":  # the size limit of files stands in for a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, sizes[1]))
    try:
        chain.prepare(layout)
        with writers.claimed(layout, lease_s) as writer:
            writer.hold()
            with writer.beating(lambda _: None):
                say({"number": writer.number, "in_place": writer.in_place})
                for _ in sys.stdin:
                    writer.check()
                    say({"may": True})
    except ScichainError as error:
        say({"class": type(error).__name__, "error": str(error)})
        return error.exit_code
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, sizes)  # what measures the tests writes at the end
    return 0


def say(value: dict[str, object]) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    sys.exit(main())
