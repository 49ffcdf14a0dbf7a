"""Domain separation."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scichain_wf.crypto.hashing import DIGEST_BYTES, Domain, digest, sha256, tagged

domains = st.sampled_from(list(Domain))


def test_sha256_is_the_standard_one() -> None:
    assert sha256(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert len(sha256(b"")) == DIGEST_BYTES


def test_tagged_bytes_are_fixed_for_ever() -> None:
    assert tagged(Domain.BLOCK, b"data") == b"scichain-wf/1/block\0data"
    assert digest(Domain.BLOCK, b"") == hashlib.sha256(b"scichain-wf/1/block\0").digest()


@pytest.mark.parametrize("domain", Domain)
def test_domain_name_is_ascii_without_the_separator(domain: Domain) -> None:
    assert domain.value.isascii()
    assert "\0" not in domain.value
    assert domain.prefix == f"scichain-wf/1/{domain.value}\0".encode()


def test_no_domain_is_the_beginning_of_another() -> None:
    for one, other in itertools.permutations(Domain, 2):
        assert not one.prefix.startswith(other.prefix)


@given(domains, st.binary(max_size=200))
def test_digest_is_the_hash_of_the_tagged_bytes(domain: Domain, data: bytes) -> None:
    assert digest(domain, data) == sha256(tagged(domain, data))


@given(domains, domains, st.binary(max_size=40), st.binary(max_size=40))
def test_two_records_have_the_same_tagged_bytes_only_if_they_are_the_same(
    domain: Domain, other: Domain, data: bytes, other_data: bytes
) -> None:
    assert (tagged(domain, data) == tagged(other, other_data)) == ((domain, data) == (other, other_data))


def test_hook_path_does_not_import_the_cryptography_package() -> None:
    program = (
        "import sys, scichain_wf.crypto.hashing, scichain_wf.crypto.merkle, scichain_wf.crypto.puzzle;"
        "sys.exit('cryptography' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
