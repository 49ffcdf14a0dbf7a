"""What an author signs: the end of a run, with everything that it counts, bound to its chain and run.

The signature is over the canonical bytes of `{body, chain, run}` in the domain `manifest`, where `body` is the body of
the `run-end` without `author_signature`. It says "this run of mine ended so", not who the key's owner is: that is the
reader's to know, as with any key.
"""

from __future__ import annotations

from typing import cast

from scichain_wf.crypto.hashing import Domain
from scichain_wf.crypto.signing import SigningKey, VerifyKey
from scichain_wf.errors import VerificationError
from scichain_wf.model import canonical
from scichain_wf.model.canonical import JsonObject
from scichain_wf.model.text import digest_text, hex_bytes, public_key_bytes, public_key_text

_FIELD = "author_signature"


def sign(key: SigningKey, chain: bytes, run: bytes, body: JsonObject) -> JsonObject:
    """The body of a `run-end` with its author's signature; `chain` has 32 bytes, `run` 16."""
    signature = key.sign(Domain.MANIFEST, _statement(chain, run, body))
    return body | {_FIELD: {"key": public_key_text(key.public.raw), "signature": signature.hex()}}


def check(chain: bytes, run: bytes, body: JsonObject) -> VerifyKey | None:
    """The key that signed a `run-end` body which fits the schema; None if nobody did.

    Raises:
        VerificationError: the signature does not hold, or the key is none.
    """
    stated = cast("dict[str, str] | None", body.get(_FIELD))
    if stated is None:
        return None
    bare = {name: value for name, value in body.items() if name != _FIELD}
    key = VerifyKey.from_bytes(public_key_bytes(stated["key"]))
    if not key.is_valid(Domain.MANIFEST, hex_bytes(stated["signature"], 64), _statement(chain, run, bare)):
        raise VerificationError(f"the manifest of run {run.hex()} is not signed by {stated['key']}")
    return key


def _statement(chain: bytes, run: bytes, body: JsonObject) -> bytes:
    return canonical.dumps({"body": body, "chain": digest_text(chain), "run": run.hex()})
