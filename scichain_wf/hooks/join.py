"""Taking part in a run that another process of this user began, possibly on another host.

Nothing but the chain's directory and the run's id is handed over. The agents' outboxes are looked for on this host;
where there is none, records go to the chain's spool on shared storage.
"""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import Final

from scichain_wf.client.outbox import outbox_directory
from scichain_wf.client.trustroot import read_trust_root
from scichain_wf.hooks.artifacts import Artifacts
from scichain_wf.hooks.digests import Digests, Hashing, shared_table
from scichain_wf.hooks.naming import Naming
from scichain_wf.hooks.recorder import Recorder
from scichain_wf.model.transaction import RunId

RUN_VARIABLE: Final = "SCICHAIN_RUN_ID"
CHAIN_VARIABLE: Final = "SCICHAIN_RUN_CHAIN"
ROOT_VARIABLE: Final = "SCICHAIN_RUN_ROOT"
"""What a run leaves in the environment of the programs it starts."""


def join_run(
    run: bytes,
    chain_dir: Path,
    directory: Path,
    hashing: Hashing | None = None,
    root: str = "",
    ack: str = "local",
    burst: Path | None = None,
) -> tuple[Recorder, Artifacts, str]:
    """What records the tasks of `run` in this process, and the user's name.

    Args:
        run: its id.
        chain_dir: directory of its chain.
        directory: where relative paths start here.
        hashing: how much of files is read.
        ack: see `Recorder`.
        burst: see `Recorder`.
        root: value of ROOT_VARIABLE: what the run calls its directory, which has the same name on every host.

    Raises:
        LedgerError: `chain_dir` is not a chain, or cannot be read from this host.
    """
    chain = read_trust_root(chain_dir)
    slots = outbox_directory(chain, 0).parent
    outboxes = sorted(slots.glob("slot-*"), key=lambda path: (len(path.name), path.name))
    recorder = Recorder(chain, RunId(run), outboxes, chain_dir / "spool", ack, burst)
    naming = Naming([directory], handed_over=root)
    digests = Digests(shared_table(naming.host))
    return recorder, Artifacts(naming, recorder.problem, hashing, digests), user_name()


def user_name() -> str:
    """Who runs this, or the user id where it has no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.geteuid())

