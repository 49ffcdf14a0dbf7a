"""Taking part in a run that another process of this user began, possibly on another host.

Nothing but the chain's directory and the run's id is handed over. The agents' outboxes are looked for on this host;
where there is none, records go to the chain's spool on shared storage.
"""

from __future__ import annotations

import getpass
import os
import re
from pathlib import Path
from typing import Final

from scichain_wf.client.outbox import outbox_directory
from scichain_wf.errors import LedgerError
from scichain_wf.hooks.artifacts import Artifacts
from scichain_wf.hooks.digests import Digests, Hashing, shared_table
from scichain_wf.hooks.naming import Naming
from scichain_wf.hooks.recorder import Recorder
from scichain_wf.model.text import digest_bytes
from scichain_wf.model.transaction import RunId

RUN_VARIABLE: Final = "SCICHAIN_RUN_ID"
CHAIN_VARIABLE: Final = "SCICHAIN_RUN_CHAIN"
ROOT_VARIABLE: Final = "SCICHAIN_RUN_ROOT"
"""What a run leaves in the environment of the programs it starts."""
_TRUST_ROOT: Final = re.compile(rb"scichain-wf-trust-root-v1 (sha256:[0-9a-f]{64})\n\Z")


def join_run(
    run: bytes, chain_dir: Path, directory: Path, hashing: Hashing | None = None, root: str = ""
) -> tuple[Recorder, Artifacts, str]:
    """What records the tasks of `run` in this process, and the user's name.

    Args:
        run: its id.
        chain_dir: directory of its chain.
        directory: where relative paths start here.
        hashing: how much of files is read.
        root: value of ROOT_VARIABLE: what the run calls its directory, which has the same name on every host.

    Raises:
        LedgerError: `chain_dir` is not a chain, or cannot be read from this host.
    """
    chain = read_trust_root(chain_dir)
    slots = outbox_directory(chain, 0).parent
    outboxes = sorted(slots.glob("slot-*"), key=lambda path: (len(path.name), path.name))
    recorder = Recorder(chain, RunId(run), outboxes, chain_dir / "spool")
    naming = Naming([directory], handed_over=root)
    digests = Digests(shared_table(naming.host))
    return recorder, Artifacts(naming, recorder.problem, hashing, digests), user_name()


def user_name() -> str:
    """Who runs this, or the user id where it has no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.geteuid())


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
