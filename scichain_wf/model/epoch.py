"""The `epoch` transaction: who may judge from here on, who may write, and under which rules.

An epoch names its whole membership, so that one record (with its inclusion proof) tells a verifier everything
about the votes cast under it. The chain of authority inside it:

    authority key ── signs ──> "this chain has N slots and these settings" (statement)
                  ── signs ──> a join token's key for one slot (certificate)
                  ── signs ──> the storage node's key (delegation)
    token key     ── signs ──> the key a node made when it booted (binding)

The first epoch is the genesis: made and signed by the authority, in a chain that has no id yet (`ZERO_DIGEST`).
The chain id is the hash of its link. Later epochs are appended by the storage node; that their authority is
the genesis' authority is checked by who reads them. A slot whose node has not come yet has no key: it counts in
N all the same (30-post: silence never shrinks the membership).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Self, cast

from scichain_wf import limits
from scichain_wf.crypto.hashing import Domain
from scichain_wf.crypto.signing import VerifyKey
from scichain_wf.errors import DecodeError, VerificationError
from scichain_wf.model import canonical
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.difficulty import DIFFICULTY, Difficulty
from scichain_wf.model.schema import (
    COUNT,
    NAME,
    ORDINAL,
    PUBLIC_KEY,
    SIGNATURE,
    Array,
    Choice,
    Integer,
    Record,
    check_record,
)
from scichain_wf.model.text import ZERO_DIGEST, digest_text, hex_bytes, public_key_bytes, public_key_text

_MEMBER = Record(
    {"slot": ORDINAL, "token": PUBLIC_KEY, "certificate": SIGNATURE},
    {"key": PUBLIC_KEY, "binding": SIGNATURE, "host": NAME},
)

EPOCH: Final = Record(
    {
        "epoch": COUNT,
        "reason": Choice("genesis", "statement", "join", "leave", "storage-key", "fork-accepted"),
        "authority": PUBLIC_KEY,
        "generation": COUNT,
        "slots": Integer(1, limits.SLOTS_MAX),
        "statement": SIGNATURE,
        "storage": Record({"key": PUBLIC_KEY, "delegation": SIGNATURE}),
        "members": Array(_MEMBER, limits.SLOTS_MAX),
        "settings": Record(
            {
                "quorum": Choice("majority", "byzantine"),
                # 0: storage alone decides (the default); w > 0: VALID slots + w must reach the quorum.
                "storage_weight": Integer(0, limits.SLOTS_MAX),
                "difficulty": DIFFICULTY,
                "mining": Choice("own", "race"),
            }
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Member:
    """One slot. `token` certifies the slot, `key` (absent until a node booted) signs its blocks and verdicts."""

    slot: int
    token: VerifyKey
    certificate: bytes
    key: VerifyKey | None = None
    binding: bytes | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """The rules of an epoch; see 30-post.md."""

    quorum: str = "majority"
    storage_weight: int = 0
    difficulty: Difficulty = field(default_factory=Difficulty)
    mining: str = "own"

    @classmethod
    def from_value(cls, value: object) -> Self:
        """From what fits the `settings` of `EPOCH`."""
        v = cast("dict[str, str]", value)
        return cls(v["quorum"], int(v["storage_weight"]), Difficulty.from_value(v["difficulty"]), v["mining"])

    def as_value(self) -> JsonObject:
        """Inverse of `from_value`."""
        return {
            "quorum": self.quorum,
            "storage_weight": self.storage_weight,
            "difficulty": self.difficulty.as_value(),
            "mining": self.mining,
        }


@dataclass(frozen=True, slots=True)
class Epoch:
    """A parsed `epoch` body."""

    epoch: int
    reason: str
    authority: VerifyKey
    generation: int
    slots: int
    statement: bytes
    storage: VerifyKey
    delegation: bytes
    members: tuple[Member, ...]
    settings: Settings

    @classmethod
    def from_body(cls, body: JsonObject) -> Self:
        """Parse a body that fits `EPOCH`.

        Raises:
            DecodeError: the shape is wrong, slots repeat or are out of range, or a key has no binding.
        """
        check_record(EPOCH, body, "epoch")
        b = cast("dict[str, object]", body)
        storage = cast("dict[str, str]", b["storage"])
        epoch = cls(
            epoch=cast("int", b["epoch"]),
            reason=cast("str", b["reason"]),
            authority=_key(b["authority"]),
            generation=cast("int", b["generation"]),
            slots=cast("int", b["slots"]),
            statement=hex_bytes(cast("str", b["statement"]), 64),
            storage=_key(storage["key"]),
            delegation=hex_bytes(storage["delegation"], 64),
            members=tuple(_member(m) for m in cast("list[dict[str, object]]", b["members"])),
            settings=Settings.from_value(b["settings"]),
        )
        numbers = [member.slot for member in epoch.members]
        if numbers != sorted(set(numbers)) or (numbers and numbers[-1] > epoch.slots):
            raise DecodeError(f"epoch.members: slots must ascend, not repeat and be at most {epoch.slots}")
        return epoch

    def body(self) -> JsonObject:
        """The body of the transaction; inverse of `from_body`."""
        members: list[canonical.JsonValue] = []
        for member in self.members:
            item: JsonObject = {
                "slot": member.slot,
                "token": public_key_text(member.token.raw),
                "certificate": member.certificate.hex(),
            }
            if member.key is not None and member.binding is not None:
                item["key"] = public_key_text(member.key.raw)
                item["binding"] = member.binding.hex()
            if member.host is not None:
                item["host"] = member.host
            members.append(item)
        return {
            "epoch": self.epoch,
            "reason": self.reason,
            "authority": public_key_text(self.authority.raw),
            "generation": self.generation,
            "slots": self.slots,
            "statement": self.statement.hex(),
            "storage": {"key": public_key_text(self.storage.raw), "delegation": self.delegation.hex()},
            "members": members,
            "settings": self.settings.as_value(),
        }

    def quorum_slots(self) -> int:
        """How many VALID slots certify a block: ⌊N/2⌋+1, or ⌈(N+f+1)/2⌉ with f = ⌊(N−1)/3⌋ ("byzantine")."""
        if self.settings.quorum == "majority":
            return self.slots // 2 + 1
        faulty = (self.slots - 1) // 3
        return (self.slots + faulty + 2) // 2

    def member_of(self, slot: int) -> Member | None:
        """The member in `slot`, or None."""
        for member in self.members:
            if member.slot == slot:
                return member
        return None

    def slot_of(self, fingerprint: bytes) -> int | None:
        """The slot whose bound key has this fingerprint, or None."""
        for member in self.members:
            if member.key is not None and member.key.fingerprint == fingerprint:
                return member.slot
        return None

    def verify(self, chain: bytes) -> None:
        """Check every signature inside the epoch under its own authority.

        Args:
            chain: chain id. What a genesis states was signed before the chain had one (`ZERO_DIGEST`).

        Raises:
            VerificationError: names the statement that does not hold.
        """
        genesis = self.generation == 0
        if (self.epoch == 0) != genesis or (self.reason == "genesis") != genesis:
            # What a genesis states is signed for no chain in particular: later on, another chain's could be replayed.
            raise VerificationError(f"epoch {self.epoch}: generation 0 is for the genesis (epoch 0) and for it only")
        if genesis:
            if self.members:
                raise VerificationError("the genesis has members, though nobody can hold a token for it")
            chain = ZERO_DIGEST
        keys = [member.key for member in self.members if member.key is not None]
        if len(set(keys)) != len(keys):
            raise VerificationError(f"epoch {self.epoch}: one key fills two slots and would vote twice")
        authority, generation = self.authority, self.generation
        statement = membership_statement(chain, generation, self.slots, self.settings)
        self._require(authority, Domain.MEMBERSHIP, self.statement, statement, "membership")
        delegation = delegation_statement(chain, self.generation, self.storage)
        self._require(authority, Domain.DELEGATION, self.delegation, delegation, "storage key delegation")
        for member in self.members:
            slot = member.slot
            token = token_statement(chain, generation, slot, member.token)
            self._require(authority, Domain.JOIN_TOKEN, member.certificate, token, f"join token of slot {slot}")
            if member.key is not None:
                binding = binding_statement(chain, generation, slot, member.key)
                self._require(member.token, Domain.BINDING, member.binding or b"", binding, f"key of slot {slot}")

    def _require(self, key: VerifyKey, domain: Domain, signature: bytes, data: bytes, what: str) -> None:
        if not key.is_valid(domain, signature, data):
            raise VerificationError(f"epoch {self.epoch}: the {what} is not signed by whom it must be")


def membership_statement(chain: bytes, generation: int, slots: int, settings: Settings) -> bytes:
    """What the authority signs (`Domain.MEMBERSHIP`): how many slots the chain has, and by which rules."""
    return canonical.dumps(
        {"chain": digest_text(chain), "generation": generation, "slots": slots, "settings": settings.as_value()}
    )


def delegation_statement(chain: bytes, generation: int, storage: VerifyKey) -> bytes:
    """What the authority signs (`Domain.DELEGATION`): whose signature counts as the storage node's.

    It names the generation, so that an old key's delegation does not outlive the next statement.
    """
    key = public_key_text(storage.raw)
    return canonical.dumps({"chain": digest_text(chain), "generation": generation, "storage": key})


def token_statement(chain: bytes, generation: int, slot: int, token: VerifyKey) -> bytes:
    """What the authority signs (`Domain.JOIN_TOKEN`): who may fill a slot."""
    return canonical.dumps(
        {"chain": digest_text(chain), "generation": generation, "slot": slot, "token": public_key_text(token.raw)}
    )


def binding_statement(chain: bytes, generation: int, slot: int, key: VerifyKey) -> bytes:
    """What the token's key signs (`Domain.BINDING`): the key that a node made when it booted."""
    return canonical.dumps(
        {"chain": digest_text(chain), "generation": generation, "slot": slot, "key": public_key_text(key.raw)}
    )


def _key(value: object) -> VerifyKey:
    return VerifyKey.from_bytes(public_key_bytes(cast("str", value)))


def _member(item: dict[str, object]) -> Member:
    if ("key" in item) != ("binding" in item):
        raise DecodeError(f"epoch.members: slot {item['slot']} has a key without its binding, or the reverse")
    return Member(
        slot=cast("int", item["slot"]),
        token=_key(item["token"]),
        certificate=hex_bytes(cast("str", item["certificate"]), 64),
        key=_key(item["key"]) if "key" in item else None,
        binding=hex_bytes(cast("str", item["binding"]), 64) if "binding" in item else None,
        host=cast("str | None", item.get("host")),
    )
