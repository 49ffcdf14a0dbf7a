"""An author's signature of the end of a run."""

from __future__ import annotations

import json

import pytest

from scichain_wf.errors import VerificationError
from scichain_wf.model import manifest
from scichain_wf.model.bodies import RUN_END
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.schema import check_record
from tests.builders import signing_key

AUTHOR = signing_key(1, "author")
CHAIN, RUN = bytes(range(32)), bytes(range(16))
BODY: JsonObject = {"status": "ok", "ended_us": 7, "counts": {"task": 2, "intent": 2}, "missing": ["a"]}


def test_signed_end_of_a_run_fits_the_schema_and_names_its_key() -> None:
    signed = manifest.sign(AUTHOR, CHAIN, RUN, BODY)
    check_record(RUN_END, json.loads(json.dumps(signed)), "run-end")
    found = manifest.check(CHAIN, RUN, signed)
    assert found is not None
    assert found.raw == AUTHOR.public.raw
    assert manifest.check(CHAIN, RUN, BODY) is None


def test_signature_is_of_the_bytes_that_the_manual_describes() -> None:
    signed = json.loads(json.dumps(manifest.sign(AUTHOR, CHAIN, RUN, BODY)))
    statement = {"body": BODY, "chain": f"sha256:{CHAIN.hex()}", "run": RUN.hex()}
    text = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    signature = bytes.fromhex(signed["author_signature"]["signature"])
    assert AUTHOR.public.is_valid_raw(signature, b"scichain-wf/1/manifest\0" + text)


@pytest.mark.parametrize("changed", ["chain", "run", "body", "key"])
def test_changed_statement_is_refused(changed: str) -> None:
    signed = manifest.sign(AUTHOR, CHAIN, RUN, BODY)
    chain, run = bytes(32) if changed == "chain" else CHAIN, bytes(16) if changed == "run" else RUN
    if changed == "body":
        signed["status"] = "failed"
    if changed == "key":
        other = manifest.sign(signing_key(1, "other"), CHAIN, RUN, BODY)["author_signature"]
        assert isinstance(other, dict)
        assert isinstance(signed["author_signature"], dict)
        signed["author_signature"]["key"] = other["key"]
    with pytest.raises(VerificationError, match=r"is not signed by ed25519:"):
        manifest.check(chain, run, signed)
