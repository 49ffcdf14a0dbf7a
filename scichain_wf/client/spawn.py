"""The process of a service: its program, its log, its environment."""

from __future__ import annotations

import os
import site
import subprocess
import sys
from pathlib import Path
from typing import IO, Final

from scichain_wf import limits
from scichain_wf.errors import LedgerError

_MODULE: Final = "scichain_wf.node.main"


def spawned(chain_dir: Path) -> subprocess.Popen[bytes]:
    """A service that waits for its first line; its standard input and output are pipes.

    Raises:
        LedgerError: the chain's directory cannot be used.
    """
    with _opened_log(chain_dir) as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the engine: it flushes, then the service ends
            env=_environment(),
        )


def log_file(chain_dir: Path) -> Path:
    """Where the processes of a chain's service log."""
    return chain_dir / "run" / "storage.log"


def _opened_log(chain_dir: Path) -> IO[bytes]:
    """The log to append to; a long one is moved aside. Nothing is made in a directory that is something else."""
    path = log_file(chain_dir)
    try:
        strange = chain_dir.exists() and any(chain_dir.iterdir()) and not path.parent.is_dir()
        if strange and not (chain_dir / "ledger").is_dir():
            return Path(os.devnull).open("ab")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > limits.LOG_BYTES_MAX:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")
    except OSError as error:
        raise LedgerError(
            f"{chain_dir}: cannot be used for a chain: {error.strerror}; choose another directory"
        ) from None


def _environment() -> dict[str, str]:
    """This process's environment; a package that runs from a checkout is made importable for the child."""
    environment = dict(os.environ)
    home = str(Path(__file__).resolve().parents[2])
    if home not in {*site.getsitepackages(), site.getusersitepackages()}:
        environment["PYTHONPATH"] = os.pathsep.join([home, *filter(None, [environment.get("PYTHONPATH")])])
    return environment
