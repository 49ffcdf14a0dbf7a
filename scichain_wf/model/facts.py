"""What bulk work needs of one transaction, straight from its bytes: no dictionary is built, walked and thrown away.

The pattern that checks a transaction in full (`transaction.match`) says where its parts are. Inside a list of artifacts
they are looked for plainly, since `"uri":"` stands nowhere but in front of a URI: inside a text its quotes would be
escaped, after the end of one comes no name, and the names are those of a closed schema.
"""

from __future__ import annotations

from binascii import unhexlify
from typing import Any, Final, TypeAlias

from scichain_wf.model import transaction
from scichain_wf.model.bodies import Kind

Input: TypeAlias = tuple[bytes, bytes, bytes, bool]
"""URI, digest as 64 hex digits, what is named as its origin (SOURCE, TASK or nothing), whether it is declared
unresolved."""
Output: TypeAlias = tuple[bytes, bytes]
"""URI; digest of 32 bytes, or nothing where there is none."""
Facts: TypeAlias = tuple[bytes, bytes, bytes, bytes, list[Input], list[Output]]
"""Chain id as spelled (`sha256:…`), key and run of 16 bytes each, kind; of a task also the inputs that have a digest,
and the outputs. A bare tuple: making a named one takes as long as taking out half of its parts."""

SOURCE: Final = b"source"
TASK: Final = b"task:"
_TASK: Final = Kind.TASK.value.encode()
_URI: Final = b'"uri":"'
_DIGEST: Final = b'"digest":"sha256:'
_ORIGIN: Final = b'"origin":"'
_NAMED: Final = _ORIGIN + TASK
_UNRESOLVED: Final = b'"unresolved":true'
_BEGIN: Final = len(_DIGEST)
_END: Final = _BEGIN + 64


def read(data: bytes) -> Facts:
    """The facts of one transaction, which is checked in full on the way.

    Raises:
        UnsupportedVersion, DecodeError: as `transaction.parse`.
    """
    found = transaction.match(data)
    if found is None:
        return of(transaction.parse(data))
    chain, key, kind, run = found.group("chain", "key", "kind", "run")  # with their quotes
    kind = kind[1:-1]
    inputs, outputs = (_inputs(found["inputs"]), _outputs(found["outputs"])) if kind == _TASK else ([], [])
    return chain[1:-1], unhexlify(key[1:-1]), unhexlify(run[1:-1]), kind, inputs, outputs


def of(value: dict[str, Any]) -> Facts:
    """The facts of a record that `transaction.parse` returned."""
    kind = value["kind"].encode()
    inputs: list[Input] = []
    outputs: list[Output] = []
    if kind == _TASK:
        for item in value["body"]["inputs"]:
            if "digest" in item:
                origin, unresolved = item.get("origin", "")[: len(TASK)].encode(), item.get("unresolved", False)
                origin = origin if origin in (TASK, b"") else SOURCE
                inputs.append((item["uri"].encode(), item["digest"][7:].encode(), origin, unresolved))
        outputs = [(item["uri"].encode(), unhexlify(item.get("digest", "")[7:])) for item in value["body"]["outputs"]]
    return value["chain"].encode(), unhexlify(value["key"]), unhexlify(value["run"]), kind, inputs, outputs


def _inputs(array: bytes) -> list[Input]:
    items = []
    before, *parts = array.split(_URI)  # an artifact's last member: what is before it belongs to the same one
    for part in parts:
        uri, _, after = part.partition(b'"')
        at = before.find(_DIGEST)
        if at >= 0:
            origin = TASK if _NAMED in before else SOURCE if _ORIGIN in before else b""
            items.append((uri, before[at + _BEGIN : at + _END], origin, _UNRESOLVED in before))
        before = after
    return items


def _outputs(array: bytes) -> list[Output]:
    items = []
    before, *parts = array.split(_URI)
    for part in parts:
        uri, _, after = part.partition(b'"')
        at = before.find(_DIGEST)
        items.append((uri, unhexlify(before[at + _BEGIN : at + _END]) if at >= 0 else b""))
        before = after
    return items
