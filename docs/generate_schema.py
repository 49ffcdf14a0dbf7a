"""Write the JSON Schema documents of every record, and of an audit's result, from the code that checks or makes them.

`python docs/generate_schema.py` writes docs/reference/schema/; with `--check` it writes nothing and exits 1 where a
document is not current.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from scichain_wf.audit.schema import result_schema
from scichain_wf.model import block, certificate, link, receipt, verdict
from scichain_wf.model.bodies import Kind
from scichain_wf.model.transaction import record_of

DIRECTORY: Final = Path(__file__).parent / "reference" / "schema"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def documents() -> dict[str, dict[str, Any]]:
    """Every document by file name."""
    kinds = {kind.value: record_of(kind.value).json_schema() for kind in Kind}
    certificates = {
        "quorum": certificate.QUORUM.json_schema(),
        "poet": certificate.POET.json_schema(),
    }
    bare = {
        "transaction": ("One statement of a workflow, a node or the storage node", _one_of(kinds)),
        "header": ("Header of a block: what its proposer signs", block.HEADER.json_schema()),
        "verdict-batch": ("What a validator says of the blocks of one tick", verdict.SIGNED_BATCH.json_schema()),
        "certificate": ("Why a block was appended", _one_of(certificates)),
        "link": ("One link of the chain", link.LINK.json_schema()),
        "receipt": ("One transaction with all proofs up to a checkpoint", receipt.RECEIPT.json_schema()),
        "result": ("What a verification or an audit comes to", result_schema()),
    }
    return {
        f"{name}.schema.json": {"$schema": DIALECT, "title": name, "description": title} | schema
        for name, (title, schema) in bare.items()
    }


def _one_of(definitions: dict[str, dict[str, object]]) -> dict[str, object]:
    return {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in definitions], "$defs": definitions}


def rendered() -> dict[str, str]:
    """Every document's text by file name."""
    return {name: json.dumps(document, indent=1) + "\n" for name, document in documents().items()}


def stale(directory: Path = DIRECTORY) -> list[str]:
    """Files that are missing, differ or should not be there."""
    texts = rendered()
    stored = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.json")}
    return sorted(name for name in texts.keys() | stored.keys() if texts.get(name) != stored.get(name))


def main(arguments: list[str] | None = None, directory: Path = DIRECTORY) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a document is not current")
    found = stale(directory)
    if parser.parse_args(arguments).check:
        sys.stderr.writelines(f"not current: {name}\n" for name in found)
        return 1 if found else 0
    texts = rendered()
    for name in found:
        if name in texts:
            (directory / name).write_text(texts[name], encoding="utf-8")
        else:
            (directory / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
