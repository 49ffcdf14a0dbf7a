"""The golden vectors: no byte changes, and what they say can be computed without this package."""

from __future__ import annotations

import base64
import hashlib
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from scichain_wf.model.bodies import Kind
from scichain_wf.model.link import Mode
from tests.golden import generate, vectors


def load(name: str) -> Any:
    return json.loads((generate.DIRECTORY / name).read_text())


def test_no_vector_changed() -> None:
    assert generate.differences() == {}


def test_there_is_one_for_every_kind_and_mode() -> None:
    names = {path.name for path in generate.DIRECTORY.glob("*.json")}
    assert {f"transaction-{kind}.json" for kind in Kind} | {f"link-{mode}.json" for mode in Mode} <= names


def test_the_generator_overwrites_only_when_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.write(tmp_path, accept=False) == 0
    assert generate.differences(tmp_path) == {}
    (tmp_path / "keys.json").write_text("changed")
    (tmp_path / "link-epoch.json").unlink()
    (tmp_path / "more.bin").write_bytes(b"")
    assert generate.differences(tmp_path) == {"keys.json": "changed", "link-epoch.json": "new", "more.bin": "gone"}
    assert generate.write(tmp_path, accept=False) == 1
    assert (tmp_path / "keys.json").read_text() == "changed"
    assert "keys.json: changed" in capsys.readouterr().err
    assert generate.write(tmp_path, accept=True) == 0
    assert generate.differences(tmp_path) == {}


def test_the_command_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main([]) == 0
    assert "0 written" in capsys.readouterr().out


# --- recomputed with hashlib and Ed25519 alone ---------------------------------------------------------
def tagged(domain: str, data: bytes) -> bytes:
    return b"scichain-wf/1/" + domain.encode() + b"\0" + data


def leaf(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(b"\0" + data).hexdigest()


def signed_by(key: str, signature: str, message: bytes) -> None:
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.removeprefix("ed25519:"))).verify(
        bytes.fromhex(signature), message
    )


KEYS = [key["public"] for key in load("keys.json")]
AUTHORITY, STORAGE, *SLOTS = KEYS


def test_keys_come_from_their_seeds() -> None:
    for key in load("keys.json"):
        public = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key["seed"])).public_key().public_bytes_raw()
        assert key["public"] == "ed25519:" + public.hex()
        assert key["fingerprint"] == hashlib.sha256(tagged("key", public)).hexdigest()


@pytest.mark.parametrize("kind", list(Kind))
def test_a_transaction_id_is_a_leaf_hash(kind: str) -> None:
    vector = load(f"transaction-{kind}.json")
    assert vector["id"] == leaf(vector["record"].encode())


@pytest.mark.parametrize("mode", list(Mode))
def test_a_link_hash_is_a_leaf_hash(mode: str) -> None:
    vector = load(f"link-{mode}.json")
    assert vector["hash"] == leaf(vector["record"].encode())


@pytest.mark.parametrize(("name", "key"), [("genesis", AUTHORITY), ("quorum", SLOTS[0]), ("poet", SLOTS[1])])
def test_a_block_is_named_and_signed_over_its_header(name: str, key: str) -> None:
    vector = load(f"block-{name}.json")
    header, data = vector["record"].encode(), (generate.DIRECTORY / f"block-{name}.bin").read_bytes()
    assert vector["id"] == "sha256:" + hashlib.sha256(tagged("block", header)).hexdigest()
    signed_by(key, vector["signature"], tagged("block", header))
    assert data[4 : 4 + int.from_bytes(data[:4], "big")] == header
    assert bytes.fromhex(vector["signature"]) in data
    proposer = hashlib.sha256(tagged("key", bytes.fromhex(key.removeprefix("ed25519:")))).hexdigest()
    assert json.loads(header)["proposer"] == "sha256:" + proposer


def test_the_verdict_batch_is_signed_over_its_header() -> None:
    vector = load("verdict-batch.json")
    record = json.loads(vector["record"])
    header = json.dumps(record["header"], separators=(",", ":"), sort_keys=True).encode()
    assert bytes.fromhex(vector["signed"]) == tagged("verdict-batch", header)
    signed_by(SLOTS[1], record["signature"], tagged("verdict-batch", header))
    entries = [json.dumps(entry, separators=(",", ":"), sort_keys=True).encode() for entry in record["entries"]]
    first, second, third = (bytes.fromhex(leaf(entry)[7:]) for entry in entries)
    pair = hashlib.sha256(b"\x01" + first + second).digest()
    assert record["header"]["root"] == "sha256:" + hashlib.sha256(b"\x01" + pair + third).hexdigest()


def test_certificates_are_named_by_their_digest_and_storage_signs_its_own() -> None:
    quorum, vector = load("certificate-quorum.json"), load("certificate-poet.json")
    for certificate in (quorum, vector):
        named = hashlib.sha256(tagged("certificate", certificate["record"].encode())).hexdigest()
        assert certificate["digest"] == "sha256:" + named
    record = json.loads(vector["record"])
    signature = record.pop("signature")
    message = tagged("storage-certificate", json.dumps(record, separators=(",", ":"), sort_keys=True).encode())
    assert bytes.fromhex(vector["signed"]) == message
    signed_by(STORAGE, signature, message)


def test_the_puzzle_vectors_begin_with_zeros_and_are_the_first_to() -> None:
    for vector in load("puzzle.json"):
        for nonce in range(vector["nonce"] + 1):
            prefix = tagged("puzzle", bytes.fromhex(vector["block"]) + bytes.fromhex(vector["solver"]))
            digest = hashlib.sha256(prefix + nonce.to_bytes(8, "big")).hexdigest()
            assert digest.startswith("0" * vector["difficulty"]) == (nonce == vector["nonce"])


def test_the_difficulty_vectors_follow_from_the_rule() -> None:
    """As docs/reference/records.md words it, in exact fractions."""
    seen = set()
    for vector in load("difficulty.json"):
        setting, slots, times = vector["setting"], vector["slots"], vector["times_us"]
        wanted = setting["value"]
        k = vector["parent_height"] // 32
        if k:
            took = Fraction(times[str(32 * k)] - times[str(32 * (k - 1))], 32 * 10**6)
            interval = min(max(took * slots, Fraction(1, 20)), Fraction(1))
            speed = setting["hashes_per_s"] * (slots if vector["mining"] == "race" else 1)
            share = Fraction(setting["share_permille"], 1_000)
            wanted = max([d for d in range(7) if Fraction(16**d, speed) <= interval * share], default=0)
        assert vector["difficulty"] == wanted
        seen.add(wanted)
    assert seen >= {2, 3, 4}


def test_links_chain_to_the_genesis() -> None:
    chain, _ = vectors.build_chain()
    assert load("receipt.json")["chain"] == load("link-epoch.json")["hash"]
    assert load("block-genesis.json")["id"] == json.loads(load("link-epoch.json")["record"])["block"]
    assert len(chain.links) == 5


def test_the_receipt_leads_from_the_transaction_to_the_checkpoint() -> None:
    receipt = json.loads(load("receipt.json")["record"])
    note = receipt["checkpoint"].split("\n")
    assert note[0] == "scichain-wf/" + receipt["chain"].removeprefix("sha256:")
    for proof in (receipt["proof"], *receipt["epochs"]):
        link = json.dumps(proof["link"], separators=(",", ":"), sort_keys=True).encode()
        spelled = json.dumps(proof["transaction"], separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        inside = climb(leaf(spelled.encode()), proof["index"], proof["header"]["count"], proof["path"])
        assert "sha256:" + inside == proof["header"]["root"]
        top = climb(leaf(link), proof["link"]["height"], int(note[1]), proof["link_path"])
        assert bytes.fromhex(top) == base64.b64decode(note[2])


def climb(start: str, index: int, size: int, path: list[str]) -> str:
    """The root that a path leads to, by RFC 6962's own recursion, read from the leaf upwards."""
    steps: list[bool] = []  # whether the sibling is on the left, from the root downwards
    low, high = 0, size
    while high - low > 1:
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        steps.append(index >= middle)
        low, high = (middle, high) if index >= middle else (low, middle)
    assert len(steps) == len(path)
    node = bytes.fromhex(start[7:])
    for left, sibling in zip(reversed(steps), path, strict=True):
        other = bytes.fromhex(sibling)
        node = hashlib.sha256(b"\x01" + (other + node if left else node + other)).digest()
    return node.hex()
