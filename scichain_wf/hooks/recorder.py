"""From a body to the agent: makes the transaction with its final bytes and hands it over, or keeps it in the spool.

`Recorder.emit` never raises, and waits only if it was told to wait for commits. It tries the outbox of one agent (a
task's records go to the same one), once more after a refusal (the agent may have replaced its directory), then the
outboxes of the other agents, then the burst buffer of a host that has agents, then the spool on shared storage. What
could not be kept at all is collected in `problems`, and the closing line tells.
A strict adapter asks for the result and fails its task.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from scichain_wf import limits
from scichain_wf.client.acks import wait_committed
from scichain_wf.client.burst import write_burst
from scichain_wf.client.outbox import OutboxWriter
from scichain_wf.client.spool import write_spool
from scichain_wf.crypto.merkle import leaf_hash
from scichain_wf.errors import DecodeError, PeerError, SubmissionError, reason_of
from scichain_wf.hooks.naming import host_name
from scichain_wf.hooks.records import shrunk
from scichain_wf.model.bodies import Kind
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.transaction import Envelope, RunId, make_key


class Delivery(StrEnum):
    """Where a transaction went."""

    OUTBOX = "outbox"
    SPOOL = "spool"
    """Or the burst buffer."""
    COMMITTED = "committed"
    """On the chain; only where that is waited for."""
    LOCAL = "local"
    """To an outbox or the spool, but not on the chain in time, where that is waited for."""
    LOST = "lost"
    """Nowhere: `Recorder.problems` says why."""

    @property
    def is_enough(self) -> bool:
        """Whether a strict adapter may go on."""
        return self not in (Delivery.LOCAL, Delivery.LOST)


class Recorder:
    """Hands over the transactions of one run from one process. Safe in threads and over forks.

    Attributes:
        chain: chain id, 32 bytes.
        run: the run.
        sent: transactions by (kind, delivery).
        detour: why the first record that an agent should have taken went to the spool; empty if none did.
        late: why the first record that was waited for was not committed in time; empty if all were.

    Args:
        chain, run: as above.
        outboxes: of the agents on this host.
        spool: where records go that no agent takes.
        ack: `committed`: `emit` waits until the record is on the chain, ACK_TIMEOUT_S at most; `local`: it does not.
        burst: the directory of this host's burst buffer, if it has one.
    """

    def __init__(
        self,
        chain: bytes,
        run: RunId,
        outboxes: Sequence[Path],
        spool: Path | None,
        ack: str = "local",
        burst: Path | None = None,
    ) -> None:
        self.chain = chain
        self.run = run
        self.host = host_name()
        self._envelope = Envelope(chain, run, self.host)
        self.sent: Counter[tuple[Kind, Delivery]] = Counter()
        self.detour = self.late = ""
        self._waits = ack == "committed"
        self._writers = [OutboxWriter(directory, urgent=self._waits) for directory in outboxes]
        self._spool, self._burst = spool, burst
        self._problems: dict[str, int] = {}
        self._lock, self._pid = threading.Lock(), os.getpid()

    def emit(self, kind: Kind, body: JsonObject, affinity: str = "", *, waits: bool = True) -> Delivery:
        """Hand over one transaction; those of one `affinity` go to the same agent while it takes them.

        Where `ack` is `committed` it `waits` for the commit, unless somebody else does.
        """
        try:
            key, data = self._encoded(kind, body)
            delivery = self._deliver(data, affinity)
            if self._waits and waits:
                delivery = self._committed(key, data)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in here, the workflow goes on (HOOK-1)
            self.problem(f"a {kind} record was not kept: {reason_of(error)}")
            delivery = Delivery.LOST
        with self._counting():
            self.sent[kind, delivery] += 1
        return delivery

    def problem(self, message: str) -> None:
        """Remember what provenance is missing; only the first PROBLEMS_KEPT_MAX different ones word by word."""
        with self._counting():
            if message not in self._problems and len(self._problems) >= limits.PROBLEMS_KEPT_MAX:
                message = "further problems"
            self._problems[message] = self._problems.get(message, 0) + 1

    @property
    def problems(self) -> list[str]:
        """What went wrong so far, each once, with how often."""
        with self._counting():
            found = list(self._problems.items())
        return [message if count == 1 else f"{message} ({count} times)" for message, count in found]

    def count(self, kind: Kind, *deliveries: Delivery) -> int:
        """How many transactions of a kind were kept (or went where `deliveries` says)."""
        wanted = deliveries or [delivery for delivery in Delivery if delivery is not Delivery.LOST]
        return sum(self.sent[kind, delivery] for delivery in wanted)

    def count_all(self, delivery: Delivery) -> int:
        """How many transactions of all kinds went to one place."""
        with self._counting():
            return sum(number for (_, where), number in self.sent.items() if where is delivery)

    def _counting(self) -> threading.Lock:
        """Guards the counts, never a write. A forked child takes its own: another thread may have held the parent's."""
        if self._pid != os.getpid():
            self._lock, self._pid = threading.Lock(), os.getpid()
        return self._lock

    @property
    def trouble(self) -> str:
        """Why the last record that was not handed over as it should be was not."""
        return self.problems[-1] if self.problems else self.late

    def _committed(self, key: bytes, data: bytes) -> Delivery:
        try:
            wait_committed(self.chain, key, leaf_hash(data), limits.ACK_TIMEOUT_S)
        except PeerError as error:
            self.late = self.late or str(error)
            return Delivery.LOCAL
        return Delivery.COMMITTED

    def _encoded(self, kind: Kind, body: JsonObject) -> tuple[bytes, bytes]:
        while True:
            time_us = time.time_ns() // 1_000
            key = make_key(time_us // 1_000, os.urandom(10))
            try:
                return key, self._envelope.encode(kind, key, time_us, body)
            except DecodeError as error:
                smaller = shrunk(body) if "over the limit" in str(error) else None
                if smaller is None:
                    raise
                body = smaller

    def _deliver(self, data: bytes, affinity: str) -> Delivery:
        refusals: list[SubmissionError] = []
        for writer in self._in_turn(affinity):
            for _ in range(2):  # the second try meets a directory that the agent made anew
                try:
                    writer.append(data)
                except SubmissionError as error:
                    refusals.append(error)
                else:
                    return Delivery.OUTBOX
        self._keep_elsewhere(data, refusals)
        if refusals and not self.detour:
            self.detour = "; ".join(dict.fromkeys((str(refusals[0]), str(refusals[-1]))))
        return Delivery.SPOOL

    def _keep_elsewhere(self, data: bytes, refusals: list[SubmissionError]) -> None:
        """In the burst buffer, which agents of this host read, if it has any; else in the spool."""
        if self._burst is not None and self._writers:
            try:
                write_burst(self._burst, self.chain, data)
            except SubmissionError as error:
                refusals.append(error)
            else:
                return
        if self._spool is None:
            raise refusals[-1] if refusals else SubmissionError("no agent on this host and no spool")
        write_spool(self._spool, data)

    def _in_turn(self, affinity: str) -> list[OutboxWriter]:
        """All writers; those of one affinity begin with the same one."""
        writers = self._writers
        if len(writers) < 2:
            return writers
        first = zlib.crc32(affinity.encode("utf-8", "replace")) % len(writers)
        return writers[first:] + writers[:first]


def new_run_id() -> RunId:
    """A time-ordered id for a run that begins now."""
    return RunId(make_key(time.time_ns() // 1_000_000, os.urandom(10)))
