"""What one honest key cannot have signed twice, made into a transaction.

Two headers of one (proposer key, sequence), or VALID and INVALID on one block at the same head. Whoever reports the
same pair makes the same transaction: it names no reporter, and its key and time follow from the pair. So that the
reports do not all come at once, the slot after the liar's reports at once and each further one a while later, unless
the transaction is committed by then.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeAlias

from scichain_wf import limits
from scichain_wf.consensus.events import Item
from scichain_wf.crypto.hashing import sha256
from scichain_wf.crypto.merkle import leaf_hash
from scichain_wf.errors import VerificationError
from scichain_wf.model import canonical, facts
from scichain_wf.model.bodies import Kind
from scichain_wf.model.text import digest_text
from scichain_wf.model.transaction import NO_RUN, Transaction, make_key
from scichain_wf.model.verdict import Verdict

if TYPE_CHECKING:
    from scichain_wf.consensus.roster import Roster
    from scichain_wf.consensus.validity import Lookup
    from scichain_wf.crypto.signing import VerifyKey
    from scichain_wf.model.block import Block
    from scichain_wf.model.canonical import JsonObject, JsonValue
    from scichain_wf.model.verdict import Vote

Statement: TypeAlias = tuple[bytes, bytes]
"""What was signed (of a vote: the whole vote, without its signature), and the signature."""

_NOBODY: Final = "-"


def of(chain: bytes, about: str, first: Statement, second: Statement) -> Transaction:
    """The `evidence` transaction of a pair.

    Args:
        chain: chain id.
        about: "header" or "verdict".
        first: one statement.
        second: the other; the order does not matter.
    """
    statements: list[JsonValue] = [
        {"bytes": data.decode("ascii"), "signature": signature.hex()} for data, signature in sorted((first, second))
    ]
    body: JsonObject = {"about": about, "statements": statements}
    key = make_key(0, sha256(canonical.dumps(body))[:10])
    return Transaction(chain, key, Kind.EVIDENCE, NO_RUN, _NOBODY, 0, body)


def vote_statement(vote: Vote) -> Statement:
    """A vote as evidence cites it: with its block, so that the entry's path can be verified from it alone."""
    value = vote.value()
    del value["signature"]
    return canonical.dumps(value | {"block": digest_text(vote.entry.block)}), vote.signature


def contradict(first: Vote, second: Vote, key: VerifyKey) -> bool:
    """Whether these votes of one slot on one block are VALID and INVALID at the same head, both signed with `key`."""
    if (
        first.header.head != second.header.head
        or {first.entry.verdict, second.entry.verdict} != {Verdict.VALID, Verdict.INVALID}
        or first.entry.block != second.entry.block
    ):
        return False
    try:
        first.verify(key)
        second.verify(key)
    except VerificationError:
        return False
    return True


class Witness:
    """Remembers signed headers, and what is to be reported when.

    Args:
        chain: chain id.
        slot: this node's.
        wait_s: how much later each slot reports than the one before it.
    """

    def __init__(self, chain: bytes, slot: int, wait_s: float) -> None:
        self._chain, self._slot, self._wait_s = chain, slot, wait_s
        self._headers: OrderedDict[tuple[bytes, int], Statement] = OrderedDict()
        self._reported: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self._due: dict[bytes, tuple[float, Item]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to report, now or later."""
        return not self._due

    def second_header(self, block: Block) -> Statement | None:
        """Remember the header of a block whose signature holds; returns another of its sequence number, if seen."""
        sequence = block.header.proposer, block.header.sequence
        seen = self._headers.setdefault(sequence, header_statement(block))
        if len(self._headers) > limits.HEADERS_REMEMBERED_MAX:
            self._headers.popitem(last=False)
        return None if seen[0] == block.header_bytes else seen

    def report(
        self, about: str, pair: tuple[Statement, Statement], liar: int, key: bytes, slots: int, now: float
    ) -> None:
        """Slot `liar` of `slots` signed both statements with the key of this fingerprint: report it, once.

        One pair convicts a key for good. More would be a lever: two processes with one key sign two blocks of every
        number, those with this very report among them, and each would be reported in turn.
        """
        if (about, key) in self._reported or len(self._due) >= limits.EVIDENCE_REMEMBERED_MAX:
            return
        self._reported[about, key] = None
        if len(self._reported) > limits.EVIDENCE_REMEMBERED_MAX:
            self._reported.popitem(last=False)
        data = of(self._chain, about, *pair).encode()
        identity = leaf_hash(data)
        places = (self._slot - liar - 1) % slots
        self._due[identity] = now + places * self._wait_s, Item(identity, data, facts.read(data), own=True)

    def compare(self, before: Vote | None, vote: Vote, roster: Roster, now: float) -> None:
        """A slot said something of a block of which it had said something `before`."""
        slot, key = vote.header.slot, roster.keys[vote.header.slot]
        is_new = ("verdict", key.fingerprint) not in self._reported
        if before is not None and is_new and contradict(before, vote, key):
            pair = vote_statement(before), vote_statement(vote)
            self.report("verdict", pair, slot, key.fingerprint, roster.epoch.slots, now)

    def ripe(self, ledger: Lookup, now: float) -> list[Item]:
        """What is to be drafted now."""
        if not self._due:
            return []
        ripe = [item for at, item in self._due.values() if at <= now]
        for item in ripe:
            del self._due[item.id]
        return [item for item in ripe if not ledger.contains(item.key, item.id)]

    def next_time(self) -> float | None:
        """When the next report is due."""
        return min((at for at, _ in self._due.values()), default=None)


def header_statement(block: Block) -> Statement:
    """A block's header as evidence cites it."""
    return block.header_bytes, block.signature
