"""The file in a chain's directory that says which chain it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from scichain_wf.errors import LedgerError
from scichain_wf.model.text import digest_bytes

_TRUST_ROOT: Final = re.compile(rb"scichain-wf-trust-root-v1 (sha256:[0-9a-f]{64})\n\Z")


def read_trust_root(chain_dir: Path) -> bytes:
    """The chain id (32 bytes) that a chain's directory states.

    Raises:
        LedgerError: there is none, or it is not one.
    """
    path = chain_dir / "trust-root"
    try:
        with path.open("rb") as file:
            found = _TRUST_ROOT.match(file.read(200))
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}; is {chain_dir} a chain that this host can see?") from None
    if not found:
        raise LedgerError(f"{path} is not a trust root")
    return digest_bytes(found[1].decode())
