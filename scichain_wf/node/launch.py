"""What a run begins with: each agent's secrets, and the epochs that state who may judge from here on."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scichain_wf import keystore
from scichain_wf.client.outbox import SHARED_MEMORY
from scichain_wf.consensus import membership
from scichain_wf.node import chain as chains

if TYPE_CHECKING:
    from scichain_wf.crypto.signing import SigningKey
    from scichain_wf.ledger.layout import ChainLayout
    from scichain_wf.ledger.view import ChainView
    from scichain_wf.model.block import Block
    from scichain_wf.model.epoch import Epoch
    from scichain_wf.transport.link import Address, Ports
    from scichain_wf.transport.runca import RunAuthority


@dataclass(frozen=True, slots=True)
class Launch:
    """The authority's part of one run; `stated` is the membership it begins with, all slots empty."""

    chain: bytes
    layout: ChainLayout
    authority: SigningKey
    storage: SigningKey
    current: Epoch
    stated: Epoch

    @classmethod
    def of(cls, layout: ChainLayout, chain: bytes, current: Epoch, slots: int) -> Launch:
        """The authority states the list of slots anew: no other run is active on this chain.

        Raises:
            ConfigError: a key cannot be used.
        """
        authority, storage = keystore.load(layout.authority_key), keystore.load(layout.storage_key)
        stated = membership.restated(current, authority, chain, slots, storage.public)
        return cls(chain, layout, authority, storage, current, stated)

    def ticket(self, slot: int, run: RunAuthority) -> dict[str, object]:
        """Who the agent of a slot is, and the secrets that prove it."""
        from scichain_wf.transport import tls  # not for `Launch.of`, which a start waits for

        generation = self.stated.generation
        token = membership.issue_token(self.authority, self.chain, generation, slot, keystore.generate())
        own = run.issue(tls.slot_name(slot))
        return {
            "slot": slot,
            "chain": self.chain.hex(),
            "generation": generation,
            "token": token.key.seed.hex(),
            "token_certificate": token.certificate.hex(),
            "authority": self.authority.public.raw.hex(),
            "credentials": {"certificate": own.certificate, "key": own.key, "authority": own.authority},
        }

    def first_epochs(
        self, view: ChainView, joins: tuple[membership.Join, ...]
    ) -> tuple[list[tuple[Block, int]], Epoch]:
        """The statement and everybody's join as a block each, with the epoch that it begins; and the last epoch.

        Raises:
            VerificationError: a join's token or binding does not hold.
        """
        epochs = [self.stated]
        if joins:
            epochs.append(membership.joined(self.stated, self.chain, joins))
        return [self._block(view, self.current, epoch, number) for number, epoch in enumerate(epochs)], epochs[-1]

    def next_epoch(
        self, view: ChainView, current: Epoch, joins: tuple[membership.Join, ...]
    ) -> tuple[list[tuple[Block, int]], Epoch]:
        """The same for nodes that join while epoch `current` is in force; what they replace is a member no more."""
        joined = membership.joined(current, self.chain, joins)
        return [self._block(view, current, joined, 0)], joined

    def _block(self, view: ChainView, current: Epoch, epoch: Epoch, number: int) -> tuple[Block, int]:
        """The `number`-th of several blocks made at once."""
        now_us, host = time.time_ns() // 1_000, socket.gethostname()
        record = membership.epoch_transaction(epoch, self.chain, host, now_us, chains.fresh_key())
        # The parent of all is the head before them: the newest link their maker knows to be durable.
        head, height = view.head_hash(), view.size - 1
        block = membership.seal(
            self.storage,
            self.chain,
            current.epoch,
            height + 1 + number,  # unique under this key, which outlives the process
            head,
            height,
            (record.encode(),),
            now_us,
            0,
            "storage",
        )
        return block, epoch.epoch


def agent_line(
    ticket: dict[str, object],
    layout: ChainLayout,
    storage: Address,
    host: str,
    ports: Ports,
    metrics: Path,
    adopted: list[Path],
    burst: Path | None = None,
    tail: Path = SHARED_MEMORY,
) -> dict[str, object]:
    """The first line of an agent: its ticket, where storage is, where it shall listen, and what it finds where.

    The first slot is the one that adopts what hooks without an agent leave in the chain's spool. Each may read
    this host's burst buffer: the first to lock it does. `tail` is where its ledger tail lies.
    """
    return ticket | {
        "role": "agent",
        "storage": list(storage),
        "listen": [host, *ports],
        "metrics": str(metrics),
        "refused": str(layout.root / "refused"),
        "spool": str(layout.spool_new.parent) if ticket["slot"] == 1 else None,
        "burst": str(burst) if burst is not None else None,
        "tail": str(tail),
        "adopt": [str(path) for path in adopted],
    }
