"""Ed25519 keys: RFC 8032's vectors, domains, keys and signatures that must be refused."""

from __future__ import annotations

import copy
import pickle

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from scichain_wf.crypto.hashing import Domain, digest, tagged
from scichain_wf.crypto.signing import PUBLIC_KEY_BYTES, SEED_BYTES, SIGNATURE_BYTES, SigningKey, VerifyKey
from scichain_wf.errors import DecodeError, UsageError, VerificationError

# RFC 8032 §7.1, TEST 1 to 3: secret key, public key, message, signature.
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
            "4a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]
ORDER = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
KEY = SigningKey.from_seed(bytes(range(32)))
OTHER = SigningKey.from_seed(bytes(32))
Point = tuple[int, int]


# --- the curve, naively (RFC 8032 §5.1), to find the keys that must be refused ----------------------
def add(a: Point, b: Point) -> Point:
    """Affine addition on the twisted Edwards curve."""
    (x1, y1), (x2, y2) = a, b
    t = D * x1 * x2 * y1 * y2
    return (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P


def multiply(n: int, point: Point) -> Point:
    """Double and add."""
    found = (0, 1)
    while n:
        if n & 1:
            found = add(found, point)
        point, n = add(point, point), n >> 1
    return found


def decode(raw: bytes) -> Point | None:
    """§5.1.3; None where decoding fails."""
    y, sign = int.from_bytes(raw, "little") & (1 << 255) - 1, raw[31] >> 7
    if y >= P:
        return None
    xx = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - xx) % P or (x == 0 and sign):
        return None
    return (P - x if x & 1 != sign else x), y


def encode(point: Point, beyond: int = 0) -> bytes:
    """§5.1.2; `beyond` adds multiples of p to y, which makes another spelling of the point."""
    x, y = point
    return (y + beyond * P | (x & 1) << 255).to_bytes(32, "little")


def torsion() -> list[Point]:
    """The eight points whose order divides the cofactor."""
    for y in range(2, 100):
        point = decode(encode((0, y)))
        if point is not None:
            generator = multiply(ORDER, point)
            if multiply(4, generator) != (0, 1):
                return [multiply(n, generator) for n in range(8)]
    raise AssertionError("no point of order 8")


# --- known vectors ----------------------------------------------------------------------------------
@pytest.mark.parametrize(("seed", "public", "message", "signature"), VECTORS)
def test_signatures_are_those_of_rfc_8032(seed: str, public: str, message: str, signature: str) -> None:
    key = SigningKey.from_seed(bytes.fromhex(seed))
    assert key.public.raw.hex() == public
    assert key.seed.hex() == seed
    assert key.sign_raw(bytes.fromhex(message)).hex() == signature
    assert VerifyKey.from_bytes(bytes.fromhex(public)).is_valid_raw(bytes.fromhex(signature), bytes.fromhex(message))


# --- signatures -------------------------------------------------------------------------------------
@given(st.sampled_from(list(Domain)), st.binary(max_size=300))
def test_what_a_key_signs_its_public_key_verifies(domain: Domain, data: bytes) -> None:
    signature = KEY.sign(domain, data)
    assert len(signature) == SIGNATURE_BYTES
    KEY.public.verify(domain, signature, data)
    assert KEY.public.is_valid(domain, signature, data)
    assert KEY.public.is_valid_raw(signature, tagged(domain, data))


@given(st.integers(0, 8 * SIGNATURE_BYTES - 1))
def test_a_signature_with_any_bit_flipped_is_refused(bit: int) -> None:
    signature = int.from_bytes(KEY.sign(Domain.BLOCK, b"data"), "big") ^ 1 << bit
    assert not KEY.public.is_valid(Domain.BLOCK, signature.to_bytes(SIGNATURE_BYTES, "big"), b"data")


@pytest.mark.parametrize("domain", [domain for domain in Domain if domain is not Domain.BLOCK])
def test_a_signature_over_a_block_is_none_over_anything_else(domain: Domain) -> None:
    signature = KEY.sign(Domain.BLOCK, b"data")
    assert not KEY.public.is_valid(domain, signature, b"data")
    assert not KEY.public.is_valid_raw(signature, b"data")


def test_a_refused_signature_says_what_of_and_by_whom() -> None:
    with pytest.raises(VerificationError, match=f"block signature by key {OTHER.public.fingerprint.hex()} does not"):
        OTHER.public.verify(Domain.BLOCK, KEY.sign(Domain.BLOCK, b"data"), b"data")


@given(st.binary(max_size=70))
def test_any_bytes_as_a_signature_are_refused_without_an_error(signature: bytes) -> None:
    assert not KEY.public.is_valid(Domain.BLOCK, signature, b"data")


def test_a_signature_cannot_be_turned_into_another_valid_one() -> None:
    signature = KEY.sign(Domain.BLOCK, b"data")
    s = int.from_bytes(signature[32:], "little")
    assert s < ORDER
    for multiple in range(1, 15):
        other = signature[:32] + (s + multiple * ORDER).to_bytes(32, "little")
        assert not KEY.public.is_valid(Domain.BLOCK, other, b"data")


# --- public keys ------------------------------------------------------------------------------------
def test_verify_keys_are_equal_and_hashed_by_their_bytes() -> None:
    again = VerifyKey.from_bytes(bytes(list(KEY.public.raw)))
    assert again == KEY.public
    assert again is KEY.public
    assert {KEY.public: 1}[again] == 1
    assert again != OTHER.public
    assert len(again.raw) == PUBLIC_KEY_BYTES
    assert repr(again) == f"VerifyKey({again.raw.hex()})"


def test_fingerprint_is_the_digest_of_the_key() -> None:
    assert KEY.public.fingerprint == digest(Domain.KEY, KEY.public.raw)


def test_verify_key_cannot_be_altered() -> None:
    with pytest.raises(AttributeError):
        KEY.public.raw = bytes(32)  # type: ignore[misc]


def test_verify_key_is_copied_and_pickled_by_value() -> None:
    again = pickle.loads(pickle.dumps(KEY.public))  # noqa: S301  our own bytes
    assert again == copy.deepcopy(KEY.public) == KEY.public
    assert again.fingerprint == KEY.public.fingerprint


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_public_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(DecodeError, match=f"32 bytes, got {length}"):
        VerifyKey.from_bytes(bytes(length))


@settings(max_examples=200)
@given(st.binary(min_size=32, max_size=32))
def test_exactly_the_points_of_large_order_are_public_keys(raw: bytes) -> None:
    point = decode(raw)
    if point is not None and multiply(8, point) != (0, 1):
        assert VerifyKey.from_bytes(raw).raw == raw
    else:
        with pytest.raises(DecodeError, match="not a point" if point is None else "small order"):
            VerifyKey.from_bytes(raw)


def test_points_of_small_order_are_refused_because_anybody_could_sign_for_them() -> None:
    points = torsion()
    assert len(set(points)) == 8
    for point in points:
        with pytest.raises(DecodeError, match="small order"):
            VerifyKey.from_bytes(encode(point))
    forged = encode((0, 1)) + bytes(32)  # R the identity, S zero
    library = Ed25519PublicKey.from_public_bytes(encode((0, 1)))
    library.verify(forged, b"one message")
    library.verify(forged, b"and any other")
    with pytest.raises(InvalidSignature):
        library.verify(forged[:-1] + b"\x01", b"one message")


@pytest.mark.parametrize("y", range(19))
def test_a_second_spelling_of_a_point_is_refused(y: int) -> None:
    for sign in (0, 1):
        with pytest.raises(DecodeError, match="not a point"):
            VerifyKey.from_bytes(encode((sign, y), beyond=1))


def test_x_zero_has_no_negative_spelling() -> None:
    for y in (1, P - 1):
        with pytest.raises(DecodeError):
            VerifyKey.from_bytes(encode((1, y)))


# --- private keys -----------------------------------------------------------------------------------
@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_seed_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(UsageError, match=f"32 bytes, got {length}"):
        SigningKey.from_seed(bytes(length))


def test_signing_key_does_not_show_its_seed() -> None:
    seed = bytes(range(32))
    key = SigningKey.from_seed(seed)
    assert len(key.seed) == SEED_BYTES
    for text in (repr(key), str(key), f"{key}"):
        assert seed.hex() not in text
        assert key.public.raw.hex() in text
    assert not hasattr(key, "__dict__")


def test_signing_key_is_neither_pickled_nor_copied() -> None:
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not copied or pickled"):
            attempt(KEY)
