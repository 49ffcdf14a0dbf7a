"""One node: `python -m scichain_parsl.nodes.main ACCESS BLOCK WORKERS`, started by a Parsl provider and launcher.

ACCESS is the file in which the executor says where it listens, with the secret that a node proves itself with. The
nursery is forked before it is read. WORKERS may be 0: as many as this process has cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable

from scichain_parsl.nodes.nursery import Nursery
from scichain_wf import keystore, limits
from scichain_wf.errors import EXIT_USAGE, PeerError, ScichainError


def main(arguments: list[str]) -> int:
    """Run the node until the executor ends it or is gone; returns the exit code."""
    access, block, workers = arguments
    nursery = Nursery.forked(_loaded)
    try:
        from scichain_parsl.nodes.runner import Runner

        value = json.loads(keystore.load_secret(access, limits.CONTROL_LINE_BYTES_MAX))
        count = int(workers) or len(os.sched_getaffinity(0))
        return asyncio.run(Runner(value, block, count, nursery).run())
    except (ValueError, LookupError, TypeError):
        print(f"{access} is not the access file of a NodeExecutor: it makes one itself", file=sys.stderr)  # noqa: T201
        return EXIT_USAGE
    except ScichainError as error:
        print(f"scichain node: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_USAGE if not isinstance(error, PeerError) else error.exit_code
    finally:
        nursery.close()


def _loaded() -> Callable[[socket.socket], None]:
    from scichain_parsl.nodes.worker import serve

    return serve


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
