"""Checkpoints that are cosigned (C2SP tlog-cosignature): agents sign what the storage node signed of their links.

A cosignature says: the tree of the links that the storage node sent me, each held against the one before, has this
size and this root. Who keeps a cosigned checkpoint has the word of several hosts that there was this history, and not
the storage node's alone. It is no vote: nothing waits for it, and the checkpoint is published without it first.
"""

from __future__ import annotations

import asyncio
import math
import struct
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from scichain_wf import limits
from scichain_wf.errors import DecodeError, LedgerFull, VerificationError
from scichain_wf.model.checkpoint import Checkpoint, cosignature
from scichain_wf.node import wire

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from scichain_wf.crypto.signing import SigningKey, VerifyKey
    from scichain_wf.model.epoch import Epoch
    from scichain_wf.node.commits import Committer
    from scichain_wf.node.members import Members
    from scichain_wf.node.room import Room
    from scichain_wf.node.tasks import Tasks

_COSIGNED: Final = struct.Struct(">Q72s")
"""Size of the tree; POSIX time and signature as a note has them."""


class Witness:
    """An agent's part."""

    def __init__(self, key: SigningKey, slot: int, chain: bytes) -> None:
        self._key, self._slot, self._chain = key, slot, chain

    def cosigned(self, text: bytes, height: int, storage: VerifyKey | None) -> bytes | None:
        """What to answer to a checkpoint that the core has held against its links; None if it covers others.

        Args:
            text: the note.
            height: the newest link here.
            storage: whose signature counts as the storage node's.
        """
        try:
            note = Checkpoint.parse(text)
            if storage is None or (note.chain, note.size) != (self._chain, height + 1):
                return None
            note.verify_storage(storage)
        except (DecodeError, VerificationError):
            return None  # the core has counted it
        signed = note.cosign(self._key, self._slot, int(time.time()))
        return _COSIGNED.pack(note.size, signed.signatures[-1].payload)


class Notes:
    """The storage node's part: its newest checkpoint, told to the agents, and published again with their names."""

    def __init__(
        self, committer: Committer, members: Members, room: Room, thread: ThreadPoolExecutor, tasks: Tasks
    ) -> None:
        self._committer, self._members, self._room, self._thread = committer, members, room, thread
        self._tasks = tasks
        self._note: Checkpoint | None = None
        self._at = -math.inf
        self._is_new = self._is_waiting = False

    @property
    def is_due(self) -> bool:
        """Whether the last one is so old that one is published however busy the node is."""
        return asyncio.get_running_loop().time() > self._at + limits.CHECKPOINT_S

    async def publish(self) -> None:
        """Sign and publish the newest head, and tell the agents."""
        self._at = asyncio.get_running_loop().time()
        text = await self._room.run(self._committer.publish)
        self._note, self._is_new = Checkpoint.parse(text), False
        self._members.broadcast(wire.Kind.CHECKPOINT, text.encode())

    def take(self, slot: int, payload: bytes, epoch: Epoch) -> None:
        """Take in what an agent signed. What is of an older checkpoint, or does not hold, is of no use.

        Raises:
            DecodeError: malformed.
        """
        if len(payload) != _COSIGNED.size:
            raise DecodeError("a cosignature is malformed")
        size, signed = _COSIGNED.unpack(payload)
        key = next((member.key for member in epoch.members if member.slot == slot), None)
        if self._note is None or key is None or size != self._note.size:
            return
        line = cosignature(self._note, key, slot, signed)
        note = replace(self._note, signatures=(*(s for s in self._note.signatures if s.name != line.name), line))
        try:
            note.verify_cosignature(key, slot)
        except VerificationError:
            return
        self._note, self._is_new = note, True
        if not self._is_waiting:
            self._is_waiting = True
            self._tasks.spawn(self._later())

    async def finish(self) -> None:
        """Publish the cosignatures that came and are not published."""
        if self._is_new and self._note is not None:
            self._is_new = False
            with suppress(LedgerFull):  # without them it is there
                write = partial(self._committer.cosigned, self._note)
                await asyncio.get_running_loop().run_in_executor(self._thread, write)

    async def _later(self) -> None:
        await asyncio.sleep(limits.COSIGN_S)  # those of the other agents are on their way
        self._is_waiting = False
        await self.finish()
