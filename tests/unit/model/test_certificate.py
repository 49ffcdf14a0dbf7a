"""Certificates: shape, order of votes, and what is signed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scichain_wf import limits
from scichain_wf.crypto.hashing import Domain, digest
from scichain_wf.errors import DecodeError
from scichain_wf.model import certificate
from scichain_wf.model.certificate import PoetCertificate, QuorumCertificate, Solution
from scichain_wf.model.verdict import BatchHeader, Entry, Verdict, Vote
from tests.unit.model.samples import chain

CHAIN = chain()[0]
DATA = {height: CHAIN.certificates[height] or b"" for height in (3, 4)}
QUORUM, POET = certificate.decode(DATA[3]), certificate.decode(DATA[4])
assert isinstance(QUORUM, QuorumCertificate)
assert isinstance(POET, PoetCertificate)


def test_both_come_back_and_are_named_by_their_digest() -> None:
    assert QUORUM.encode() == DATA[3]
    assert POET.encode() == DATA[4]
    assert certificate.certificate_digest(DATA[3]) == digest(Domain.CERTIFICATE, DATA[3])
    assert certificate.decode(memoryview(DATA[4])) == POET
    assert (QUORUM.type, POET.type) == ("quorum", "poet")


def test_storage_signs_everything_but_its_signature() -> None:
    assert isinstance(POET, PoetCertificate)
    CHAIN.builder.storage.public.verify(Domain.STORAGE, POET.signature, POET.statement())
    changes: list[PoetCertificate] = [
        replace(POET, block=bytes(32)),
        replace(POET, epoch=9),
        replace(POET, solution=None),
        replace(POET, votes=()),
        replace(POET, writer=2),
        replace(POET, reason="deadline"),
        replace(POET, annotations=bytes(32)),
    ]
    for changed in changes:
        assert changed.statement() != POET.statement()
    assert replace(POET, signature=bytes(64)).statement() == POET.statement()


def test_votes_ascend_by_slot_and_do_not_repeat() -> None:
    first, second = QUORUM.votes
    for votes in ((second, first), (first, first), (first, second, second)):
        wrong = replace(QUORUM, votes=votes)
        with pytest.raises(DecodeError, match="ascend"):
            wrong.encode()


def test_a_quorum_certificate_cites_valid_verdicts_only() -> None:
    vote = replace(QUORUM.votes[0], entry=Entry(QUORUM.block, Verdict.UNKNOWN))
    with pytest.raises(DecodeError, match="VALID"):
        replace(QUORUM, votes=(vote,)).encode()
    replace(POET, block=QUORUM.block, votes=(vote,)).encode()
    data = DATA[3].replace(b'"VALID"', b'"UNKNOWN"', 1)
    with pytest.raises(DecodeError, match="VALID"):
        certificate.decode(data)


def test_a_vote_about_another_block_cannot_be_cited() -> None:
    with pytest.raises(DecodeError, match="another block"):
        replace(QUORUM, votes=POET.votes[:1]).encode()


def test_a_solution_is_optional_and_signed_only_by_a_stranger() -> None:
    for solution in (None, Solution(bytes(32), 7), Solution(bytes(32), 7, bytes(64))):
        changed = replace(QUORUM, solution=solution)
        assert certificate.decode(changed.encode()) == changed


@pytest.mark.parametrize(
    "data", [b"[]", b"1", b"{}", b'{"type":"other"}', b'{"type":["quorum"]}', b'{"type":"quorum"}']
)
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="certificate"):
        certificate.decode(data)


def test_one_type_does_not_pass_for_the_other() -> None:
    with pytest.raises(DecodeError):
        certificate.decode(DATA[3].replace(b'"type":"quorum"', b'"type":"poet"'))
    with pytest.raises(DecodeError):
        certificate.decode(DATA[4].replace(b'"type":"poet"', b'"type":"quorum"'))


def test_the_largest_certificates_fit_their_limit() -> None:
    """Every slot votes INVALID in the fullest batch."""
    large = 2**53 - 1
    depth = (limits.VERDICTS_PER_BATCH_MAX - 1).bit_length()
    votes = tuple(
        Vote(
            BatchHeader(bytes(32), large, slot, large, bytes(32), large, limits.VERDICTS_PER_BATCH_MAX, bytes(32)),
            bytes(64),
            Entry(POET.block, Verdict.INVALID, bytes(32)),
            limits.VERDICTS_PER_BATCH_MAX - 1,
            (bytes(32),) * depth,
        )
        for slot in range(1, limits.SLOTS_MAX + 1)
    )
    assert len(replace(POET, votes=votes).encode()) <= limits.CERTIFICATE_BYTES_MAX
