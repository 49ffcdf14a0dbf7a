"""What blocks and certificates say of the slots: who made what, who judged whom, who contradicted itself."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from scichain_wf import limits
from scichain_wf.audit.account import Agreement, BlockFacts, SlotFacts
from scichain_wf.crypto.hashing import Domain
from scichain_wf.errors import DecodeError, LedgerCorrupt, VerificationError
from scichain_wf.ledger import keys
from scichain_wf.ledger.problem import Problem, Problems
from scichain_wf.model import canonical
from scichain_wf.model import certificate as certificates
from scichain_wf.model.block import BlockFrame, Header, block_id
from scichain_wf.model.certificate import PoetCertificate
from scichain_wf.model.link import Link, Mark, Mode
from scichain_wf.model.schema import check_record
from scichain_wf.model.text import digest_bytes
from scichain_wf.model.verdict import VOTE, Verdict, Vote

if TYPE_CHECKING:
    from scichain_wf.audit.epochs import EpochBook
    from scichain_wf.crypto.signing import VerifyKey
    from scichain_wf.ledger.rawread import RawLedger

_POET_SHARE_NOTED: Final = 0.5
_POET_BLOCKS_MIN: Final = 8
"""Fewer blocks are a short run whose end came before its votes."""


class Witness:
    """Collects what every block shows of the slots; one per audit."""

    def __init__(self, ledger: RawLedger, book: EpochBook) -> None:
        self._ledger, self._book = ledger, book
        self.blocks: list[BlockFacts] = []
        self.problems = Problems()
        self._hosts: dict[int, str] = {}
        self._counts: Counter[tuple[int, str]] = Counter()
        self._heads: dict[int, int] = {}
        self._agreed: Counter[tuple[int, int, str]] = Counter()
        self._foreign: Counter[tuple[str, str]] = Counter()

    def block(self, link: Link, frame: BlockFrame) -> BlockFacts:
        """Take in one block.

        Raises:
            DecodeError, LedgerCorrupt: header, certificate or epoch cannot be read.
        """
        header, height = Header.decode(frame.header), link.height
        slot, reason = 0, ""
        votes: tuple[Vote, ...] = ()
        if link.mode is not Mode.EPOCH:
            in_force = self._book.at(height)
            slot = in_force.slots.get(header.proposer, 0)
            self._hosts.update({m.slot: m.host for m in in_force.epoch.members if m.host})
            certificate = certificates.decode(self._ledger.get(keys.CERTIFICATES, keys.height_key(height)) or b"")
            votes = certificate.votes
            reason = certificate.reason if isinstance(certificate, PoetCertificate) else ""
            self._counts[slot, "credit"] += 1
            self._counts[slot, "transactions"] += frame.count
            self._counts[slot, "poet"] += link.mode is Mode.POET
            for vote in votes:
                self._vote(link, slot, vote)
        facts = BlockFacts(
            height, slot, header.sequence, link.mode.value, reason, frame.count, len(votes), link.time_us,
            link.epoch, header.source, link.hash.hex(), block_id(frame.header).hex(),
        )
        self.blocks.append(facts)
        return facts

    def _vote(self, link: Link, maker: int, vote: Vote) -> None:
        judge, verdict, head = vote.header.slot, vote.entry.verdict, vote.header.head_height
        self._agreed[maker, judge, verdict.value] += 1
        self._counts[judge, "verdicts"] += 1
        self._counts[judge, "lag"] += max(0, link.height - 1 - head)
        self._counts[judge, "diverged"] += self._ledger.node(0, head) != vote.header.head
        self._heads[judge] = max(head, self._heads.get(judge, -1))
        if verdict is Verdict.INVALID and not any(a.mark is Mark.CONTESTED for a in link.annotations):
            self._counts[judge, "dissent"] += 1

    def transaction(self, block: BlockFacts, host: str) -> None:
        """Whether the node that vouched for a task ran on the host that the task names."""
        vouching = self._hosts.get(block.slot)
        if block.source == "outbox" and vouching is not None and vouching != host:
            self._foreign[host, vouching] += 1

    def evidence(self, value: dict[str, Any], height: int, index: int) -> None:
        """Judge one `evidence` transaction: two signed statements that one honest key cannot both have made."""
        where = f"transaction {index} at height {height}"
        try:
            said = _convicted(value["body"], self._book)
        except (DecodeError, VerificationError, LedgerCorrupt, KeyError) as error:
            self.problems.add(Problem("node-evidence-false", where, "", str(error), height, index, value["key"]))
        else:
            self.problems.add(Problem("node-equivocation", where, "", said, height, index, value["key"]))

    def slots(self) -> list[SlotFacts]:
        """Every slot that made or judged something, or is a member."""
        known = sorted({slot for slot, _ in self._counts} | self._hosts.keys() - {0})
        return [self._slot(slot) for slot in known if slot]

    def _slot(self, slot: int) -> SlotFacts:
        credit, transactions, poet, lag, verdicts, diverged = (
            self._counts[slot, name] for name in ("credit", "transactions", "poet", "lag", "verdicts", "diverged")
        )
        host, head = self._hosts.get(slot, ""), self._heads.get(slot, -1)
        return SlotFacts(slot, host, credit, transactions, poet, head, lag, verdicts, diverged)

    def agreement(self) -> list[Agreement]:
        """Who judged whose blocks how."""
        pairs = sorted({(maker, judge) for maker, judge, _ in self._agreed})
        return [Agreement(*pair, *(self._agreed[*pair, verdict.value] for verdict in Verdict)) for pair in pairs]

    def conclude(self) -> Problems:
        """All findings about slots."""
        add = self.problems.add
        for (slot, name), number in sorted(self._counts.items()):
            if name == "dissent" and number:
                add(Problem("node-dissent", f"slot {slot}", "", f"{number} blocks"))
        for (host, vouching), number in sorted(self._foreign.items()):
            add(Problem("run-unattested", f"{number} records of {host!r:.200}", host, vouching))
        judged = [block for block in self.blocks if block.mode != Mode.EPOCH]
        poet = sum(block.mode == Mode.POET for block in judged)
        if len(judged) >= _POET_BLOCKS_MIN and poet > _POET_SHARE_NOTED * len(judged):
            add(Problem("node-poet-share", f"{poet} of {len(judged)} blocks"))
        return self.problems


def _convicted(body: dict[str, Any], book: EpochBook) -> str:
    """Who contradicted itself, in words.

    Raises:
        DecodeError, VerificationError: the statements do not show that.
    """
    statements = [(item["bytes"].encode(), bytes.fromhex(item["signature"])) for item in body["statements"]]
    if body["about"] == "header":
        first, second = (Header.decode(data) for data, _ in statements)
        if (first.proposer, first.sequence) != (second.proposer, second.sequence) or first == second:
            raise VerificationError("the headers are of different blocks' numbers, or one and the same")
        slot, key = _key_of(first.proposer, book, (first.epoch, second.epoch))
        for data, signature in statements:
            key.verify(Domain.BLOCK, signature, data)
        return f"slot {slot} signed two blocks as its number {first.sequence}"
    votes = [_vote(data, signature) for data, signature in statements]
    one, other = votes
    what = {(vote.entry.block, vote.header.head, vote.header.slot) for vote in votes}
    if len(what) > 1 or {one.entry.verdict, other.entry.verdict} != {Verdict.VALID, Verdict.INVALID}:
        raise VerificationError("the verdicts do not contradict each other")
    found = book.get(one.header.epoch).keys.get(one.header.slot)
    if found is None:
        raise VerificationError(f"slot {one.header.slot} has no key in epoch {one.header.epoch}")
    for vote in votes:
        vote.verify(found)
    return f"slot {one.header.slot} called block {one.entry.block.hex()} both VALID and INVALID"


def _vote(data: bytes, signature: bytes) -> Vote:
    value = canonical.parse(data, limits.TEXT_CHARS_MAX)
    if type(value) is not dict:
        raise DecodeError("a vote is an object")
    block = digest_bytes(str(value.pop("block", "")))
    value["signature"] = signature.hex()
    check_record(VOTE, value, "vote")
    return Vote.from_value(value, block)


def _key_of(fingerprint: bytes, book: EpochBook, epochs: tuple[int, int]) -> tuple[int, VerifyKey]:
    for number in epochs:
        in_force = book.get(number)
        slot = in_force.slots.get(fingerprint)
        if slot is not None:
            return slot, in_force.keys[slot]
    raise VerificationError(f"no slot of epoch {epochs[0]} or {epochs[1]} has the key {fingerprint.hex()}")
