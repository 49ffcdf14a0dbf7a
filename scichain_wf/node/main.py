"""Entry of every process: `python -m scichain_wf.node.main`; its role is in the first line on standard input.

The first line of a storage node: {"role": "storage", "chain_dir": ..., "nodes": k, "engine_pid": ...}. It imports
what its agents need, too, and forks them before it has anything that must not be shared.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from scichain_wf.errors import EXIT_OK, PeerError, ScichainError
from scichain_wf.node import process
from scichain_wf.node.log import Log


def main() -> int:
    """Run one process; returns its exit code."""
    try:
        line = process.first_line()
        if line.get("role") == "agent":
            return _agent(line)
        if line.get("role") == "storage":
            return _storage(line)
        raise PeerError("the first line names no role")
    except ScichainError as error:
        Log("start").error("ended", reason=error)
        process.reply({"error": {"class": type(error).__name__, "message": str(error)}})
        return error.exit_code


def _agent(line: dict[str, object]) -> int:
    process.protect(f"scichain-slot-{line.get('slot')}")
    from scichain_wf.node.agent import AgentNode

    async def run() -> None:
        await AgentNode(line).run()

    asyncio.run(run())
    return EXIT_OK


def _storage(line: dict[str, object]) -> int:
    process.protect("scichain-stor")
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.node import agent, chain, storage_node
    from scichain_wf.node.children import Child

    del agent  # imported so that the children need not
    layout = ChainLayout(Path(str(line["chain_dir"])))
    nodes, engine = line["nodes"], line["engine_pid"]
    if type(nodes) is not int or type(engine) is not int:
        raise PeerError("the first line is malformed")
    with chain.locked(layout):
        children = [Child(slot, main) for slot in range(1, nodes + 1)]

        async def run() -> int:
            return await storage_node.StorageNode(layout, children, engine).run()

        try:
            return asyncio.run(run())
        finally:
            for child in children:
                child.end_now()


if __name__ == "__main__":
    sys.exit(main())
