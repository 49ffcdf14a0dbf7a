"""One command with an agent beside it: `python -m scichain_parsl.nodes.beside CHAIN ADDRESS PORTS TAIL_DIR COMMAND`.

The agent joins before the command begins, and ends in order after it. Without an agent the command runs all the same.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path

from scichain_parsl.nodes.agent import Agent
from scichain_parsl.nodes.place import found
from scichain_wf.errors import ScichainError


async def run(chain: Path, address: str, ports: str, tail_dir: str, command: str) -> int:
    """Returns the command's exit code."""
    agent = None
    try:
        agent = await Agent.started(chain, *found(address or None, ports or None), tail_dir or None)
        if agent is None:
            print(f"{chain}: no slot is free for an agent of this node", file=sys.stderr)  # noqa: T201 - the job's log
        else:
            await agent.joined()
    except (ScichainError, OSError) as error:
        print(f"no agent runs on this node: {error}", file=sys.stderr)  # noqa: T201 - as above
    process = await asyncio.create_subprocess_exec("/bin/sh", "-c", command)

    def told() -> None:
        with suppress(ProcessLookupError):
            process.terminate()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told)
    code = await process.wait()
    if agent is not None:
        await agent.end()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    where, interface, port_numbers, tails, line = sys.argv[1:]
    sys.exit(asyncio.run(run(Path(where), interface, port_numbers, tails, line)))
