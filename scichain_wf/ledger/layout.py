"""Where things are in a chain directory (`.scichain/` by default). Pure paths; only `live_ledger` looks at the disk.

    trust-root                     text: `scichain-wf-trust-root-v1 sha256:<chain id>`
    checkpoint                     newest signed note, replaced by rename after each group commit
    ledger/<writer, 8 digits>/     an LMDB environment (`data.mdb`); the highest number is the live one
    writers/<n, 8 digits>          who took writer epoch n
    keys/                          authority.key, storage.key (0600 in 0700)
    spool/                         maildir for records without an agent: tmp, new
    run/                           rendezvous of a running storage node

A takeover copies the ledger under the next number and moves the copy into place complete, so that the highest number
is never half made; names that are not eight digits are somebody's unfinished work and are not looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scichain_wf.errors import LedgerError, UsageError

WRITER_MAX: Final = 99_999_999
"""Writer epochs are spelled with eight digits."""
DATA_FILE: Final = "data.mdb"
_WRITER = re.compile(r"[0-9]{8}\Z")


@dataclass(frozen=True, slots=True)
class ChainLayout:
    """The paths of the chain directory `root`."""

    root: Path

    @property
    def trust_root(self) -> Path:
        """The chain's id, which everything is verified against."""
        return self.root / "trust-root"

    @property
    def checkpoint(self) -> Path:
        """The newest signed tree head."""
        return self.root / "checkpoint"

    @property
    def ledgers(self) -> Path:
        """Directory of the ledgers of all writer epochs."""
        return self.root / "ledger"

    @property
    def writers(self) -> Path:
        """Directory of the writer-epoch markers."""
        return self.root / "writers"

    @property
    def authority_key(self) -> Path:
        """Key of the chain's authority."""
        return self.root / "keys" / "authority.key"

    @property
    def storage_key(self) -> Path:
        """Key of the storage node."""
        return self.root / "keys" / "storage.key"

    @property
    def spool_new(self) -> Path:
        """Complete records that wait for an agent."""
        return self.root / "spool" / "new"

    @property
    def spool_tmp(self) -> Path:
        """Records that are being written."""
        return self.root / "spool" / "tmp"

    @property
    def run_dir(self) -> Path:
        """Rendezvous of the running storage node."""
        return self.root / "run"

    def ledger_dir(self, writer: int) -> Path:
        """The ledger that writer epoch `writer` writes.

        Raises:
            UsageError: not a writer epoch.
        """
        if not 0 <= writer <= WRITER_MAX:
            raise UsageError(f"writer epoch {writer} is outside 0 to {WRITER_MAX}")
        return self.ledgers / f"{writer:08d}"

    def marker(self, writer: int) -> Path:
        """What says who took writer epoch `writer`; errors as of `ledger_dir`."""
        return self.writers / self.ledger_dir(writer).name

    @property
    def newest_ledger(self) -> int:
        """The highest writer epoch that has a ledger of its own; 0 if none has.

        Raises:
            OSError: the ledgers cannot be listed.
        """
        try:
            return max((int(entry.name) for entry in self.ledgers.iterdir() if _WRITER.match(entry.name)), default=0)
        except FileNotFoundError:
            return 0

    def live_ledger(self) -> Path:
        """The ledger with the highest writer epoch.

        Raises:
            LedgerError: this is not a chain directory, or it cannot be listed.
        """
        try:
            names = [entry.name for entry in self.ledgers.iterdir() if _WRITER.match(entry.name)]
        except (FileNotFoundError, NotADirectoryError):
            names = []
        except OSError as error:
            raise LedgerError(
                f"{self.ledgers}: cannot be listed ({error.strerror}); the directory needs read and search permission"
            ) from None
        if not names:
            raise LedgerError(
                f"{self.root} is not a chain: it has no ledger; name the directory that holds `ledger/` "
                "(.scichain in the workflow's directory unless it was configured otherwise)"
            )
        return self.ledgers / max(names)
