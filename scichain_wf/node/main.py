"""Entry of every process: `python -m scichain_wf.node.main`; its role is in the first line on standard input.

The first line of a storage node: {"role": "storage", "chain_dir": ..., "nodes": k, "engine_pid": ..., "lease_s": ...,
"listen": [host, first port, last port], "slots": agents that others start, "metrics": directory}.
The process that reads it stays the supervisor: it forks the storage process, which sees to it that hooks can hand
over records (`opening`: a workflow waits for that), imports everything, and forks the agents before it has anything
that must not be shared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from scichain_wf.errors import EXIT_OK, PeerError, ScichainError
from scichain_wf.node import process
from scichain_wf.node.log import Log


def main() -> int:
    """Run one process; returns its exit code."""
    process.return_memory()
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
    import asyncio

    from scichain_wf.node.agent import AgentNode

    async def run() -> None:
        await AgentNode(line).run()

    asyncio.run(run())
    return EXIT_OK


def _storage(line: dict[str, object]) -> int:
    process.protect("scichain-super")
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.node import chain, children, opening, wire, writers

    layout = ChainLayout(Path(str(line.get("chain_dir"))))
    nodes, engine_pid, lease_s = line.get("nodes"), line.get("engine_pid"), line.get("lease_s")
    if type(nodes) is not int or type(engine_pid) is not int or type(lease_s) is not float:
        raise PeerError("the first line is malformed")
    slots = nodes + wire.integer(line, "slots")
    engine = process.parent_handle(engine_pid)

    def run(works: Callable[[], None]) -> int:
        process.protect("scichain-stor")
        chain.prepare(layout)
        with writers.claimed(layout, lease_s, _waiting) as writer:
            chain.take_over(layout, writer, _waiting)
            left = opening.opened(layout, writer, nodes, slots)
            with writer.beating(lambda _: None):
                import asyncio

                from scichain_wf.node import agent, site, storage_node

                del agent  # imported so that its processes need not
                place = site.Site.from_line(line)
            agents = [children.Child.forked(slot, main) for slot in range(1, nodes + 1)]

            async def serve() -> int:
                return await storage_node.StorageNode(layout, writer, agents, place, engine, works, left).run()

            try:
                return asyncio.run(serve())
            finally:
                for child in agents:
                    child.end_now()

    return children.supervised(run)


def _waiting(what: str) -> None:
    process.reply({"waiting": what})


if __name__ == "__main__":
    sys.exit(main())
