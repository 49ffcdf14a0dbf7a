"""Which keys counted when: epochs read from the chain, checked once, and looked up per block.

An `EpochBook` belongs to one opened ledger in one process. It also remembers verified statements: one signature of
a verdict batch serves every block of a tick, and members stay the same over many epochs.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Final, cast

from scichain_wf.crypto.hashing import Domain
from scichain_wf.crypto.signing import VerifyKey
from scichain_wf.errors import DecodeError, LedgerCorrupt, VerificationError
from scichain_wf.ledger import keys
from scichain_wf.ledger.rawread import RawLedger
from scichain_wf.ledger.stored import Survey
from scichain_wf.model import transaction
from scichain_wf.model.block import BlockFrame
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.epoch import Epoch

EPOCHS_KEPT: Final = 16
BATCHES_KEPT: Final = 65_536


class InForce:
    """One epoch with its look-ups."""

    def __init__(self, epoch: Epoch) -> None:
        self.epoch: Final = epoch
        self.keys: Final[dict[int, VerifyKey]] = {m.slot: m.key for m in epoch.members if m.key is not None}
        self.slots: Final = {key.fingerprint: slot for slot, key in self.keys.items()}
        self.quorum: Final = epoch.quorum_slots()


class Signatures:
    """Verifies signatures and remembers the answers: the same batch header comes back with every block of its tick."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, Domain, bytes, bytes], bool] = {}

    def hold(self, key: VerifyKey, domain: Domain, signature: bytes, data: bytes) -> bool:
        """Whether `signature` over `data` holds under `key`."""
        question = (key.raw, domain, signature, data)
        answer = self._known.get(question)
        if answer is None:
            if len(self._known) >= BATCHES_KEPT:
                self._known.clear()
            answer = self._known[question] = key.is_valid(domain, signature, data)
        return answer


class EpochBook:
    """Epochs by number, read when they are asked for; a few are kept."""

    def __init__(self, ledger: RawLedger, summary: Survey) -> None:
        self._ledger, self._summary = ledger, summary
        self._heights = dict(summary.epochs)
        self._kept: OrderedDict[int, InForce] = OrderedDict()
        self._verified: tuple[Epoch, frozenset[object]] | None = None
        self.signatures = Signatures()

    @classmethod
    def of(cls, ledger: RawLedger, summary: Survey) -> EpochBook:
        """The book of this opened ledger."""
        book = ledger.state.get("epochs")
        if book is None:
            book = ledger.state["epochs"] = cls(ledger, summary)
        return cast("EpochBook", book)

    def at(self, height: int) -> InForce:
        """The epoch in force once `height` is appended; errors as in `get`."""
        return self.get(self._summary.epoch_at(height))

    def get(self, number: int) -> InForce:
        """Epoch `number`.

        Raises:
            LedgerCorrupt: its link's block does not hold one epoch.
        """
        found = self._kept.get(number)
        if found is None:
            found = InForce(self._read(number))
            self._kept[number] = found
            if len(self._kept) > EPOCHS_KEPT:
                self._kept.popitem(last=False)
        return found

    def authority(self) -> VerifyKey:
        """The genesis' authority."""
        key = self._ledger.state.get("authority")
        if key is None:
            key = self._ledger.state["authority"] = self.get(0).epoch.authority
        return cast("VerifyKey", key)

    def verify(self, epoch: Epoch, chain: bytes) -> None:
        """`Epoch.verify`, but a member that the epoch before had just so is not verified again.

        Raises:
            VerificationError: names the statement that does not hold.
        """
        checked = epoch
        if self._verified is not None:
            last, members = self._verified
            if (last.authority, last.generation) == (epoch.authority, epoch.generation):
                fresh = tuple(member for member in epoch.members if member not in members)
                bound = [member.key for member in epoch.members if member.key is not None]
                if len(set(bound)) != len(bound):
                    raise VerificationError(f"epoch {epoch.epoch}: one key fills two slots and would vote twice")
                checked = replace(epoch, members=fresh)
        checked.verify(chain)
        self._verified = epoch, frozenset(epoch.members)

    def _read(self, number: int) -> Epoch:
        height = self._heights.get(number)
        data = None if height is None else self._ledger.get(keys.BLOCKS, keys.height_key(height))
        if data is None:
            raise LedgerCorrupt(f"epoch {number}, which is in force, cannot be found")
        try:
            return epoch_of(transaction.parse(BlockFrame.of(data).transaction(0)))
        except DecodeError as error:
            raise LedgerCorrupt(f"epoch {number}, which is in force, cannot be read: {error}") from None


def epoch_of(value: JsonObject) -> Epoch:
    """The epoch that a parsed transaction states.

    Raises:
        DecodeError: it states none.
    """
    if value["kind"] != "epoch":
        raise DecodeError(f"a transaction of kind {value['kind']} states no epoch")
    return Epoch.from_body(cast("JsonObject", value["body"]))
