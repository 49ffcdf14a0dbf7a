"""The agent that belongs to a node: `scichain-wf node` as a program of its own, in the first slot that is free.

A slot is free while its token is there and nobody claims it: who makes `run/tokens/claim-<n>` has it. Claims lie beside
the tokens, and go with them when the storage node ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Self

from scichain_parsl.nodes.nursery import end_with_parent
from scichain_wf import limits
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.node.markers import Identity


class Claim:
    """A slot that this process may fill."""

    def __init__(self, slot: int, path: Path) -> None:
        self.slot, self._path = slot, path

    @classmethod
    def take(cls, chain: Path) -> Self | None:
        """The first slot that is free; None if none is, or no storage node runs that lets others join."""
        tokens = ChainLayout(chain).run_dir / "tokens"
        here = Identity.own()
        for slot in sorted(int(path.name.removeprefix("slot-")) for path in tokens.glob("slot-*")):
            path = claim_file(chain, slot)
            for _ in range(2):
                try:
                    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                except FileExistsError:
                    if not _is_stale(path, here):
                        break
                    path.unlink(missing_ok=True)
                except OSError:
                    return None  # the tokens are gone: so is the storage node
                else:
                    with os.fdopen(descriptor, "w") as file:
                        file.write(json.dumps(asdict(here)))
                    return cls(slot, path)
        return None

    def release(self) -> None:
        """Somebody else may have it."""
        self._path.unlink(missing_ok=True)


def claim_file(chain: Path, slot: int) -> Path:
    """Where a claim on `slot` is."""
    return ChainLayout(chain).run_dir / "tokens" / f"claim-{slot}"


def _is_stale(path: Path, here: Identity) -> bool:
    try:
        return Identity(**json.loads(path.read_bytes())).is_dead(here)
    except (OSError, ValueError, TypeError):
        return False  # just being written


class Agent:
    """A running `scichain-wf node`.

    Attributes:
        slot: what it fills.
    """

    def __init__(self, process: asyncio.subprocess.Process, claim: Claim) -> None:
        self._process, self._claim, self.slot = process, claim, claim.slot
        self._said = asyncio.create_task(self._listen())
        self._joined = asyncio.Event()

    @classmethod
    async def started(cls, chain: Path, host: str, ports: tuple[int, int], tail_dir: str | None) -> Agent | None:
        """Start the agent of a free slot of the chain; None: no slot is free.

        Args:
            chain: the chain's directory as this host sees it.
            host: address of this host where other agents find it.
            ports: first and last port that it may listen on; (0, 0): any.
            tail_dir: a directory of this host for its ledger tail; None: /dev/shm.
        """
        claim = await _claimed(chain)
        if claim is None:
            return None
        more = ["--port-range", f"{ports[0]}-{ports[1]}"] if ports[0] else []
        more += [] if tail_dir is None else ["--tail-dir", tail_dir]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "scichain_wf", "node", "--chain", str(chain), "--slot", str(claim.slot)),
            *("--interface", host, *more),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=_apart,
        )
        return cls(process, claim)

    async def joined(self) -> None:
        """Wait until it may vote, or has ended, or a while has passed: it joins later, and records wait meanwhile."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._joined.wait(), limits.START_TIMEOUT_S)

    async def end(self) -> None:
        """Let it get everything committed, and end."""
        try:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(self._process.wait(), limits.DRAIN_TIMEOUT_S + limits.AGENT_END_TIMEOUT_S)
        except TimeoutError:
            self._process.kill()
        await self._said
        self._claim.release()

    async def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it has a pipe
        async for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip()
            print(f"agent: {text}", flush=True)  # noqa: T201 - the block's own log
            if " joined at " in text:
                self._joined.set()
        self._joined.set()


async def _claimed(chain: Path) -> Claim | None:
    """A slot, as soon as the storage node lets others join: a run goes on before it does."""
    deadline = time.monotonic() + limits.START_TIMEOUT_S
    place = ChainLayout(chain).run_dir / "storage"
    while not place.exists() and time.monotonic() < deadline:  # noqa: ASYNC110 - a file on a shared disk tells nobody
        await asyncio.sleep(limits.RECONNECT_S)
    return Claim.take(chain)


def _apart() -> None:
    """In the agent, before it is itself: signals for its group are not for it; it ends in order if we die."""
    os.setsid()
    end_with_parent(signal.SIGTERM)
