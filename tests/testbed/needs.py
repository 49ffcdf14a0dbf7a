"""What the bed needs of a machine, as marks that skip a test with the reason."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.testbed.cgroups import CONTROLLERS, ROOT

_PROGRAMS = ("unshare", "nsenter", "setpriv", "ip", "tc", "nft")
_UNSHARE = ["unshare", "--net", "--uts", "--ipc", "--mount", "--pid", "--fork", "--kill-child", "true"]


def missing(*programs: str) -> str:
    """Why a bed with these programs cannot be made here; empty if it can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "namespaces with a network need root on Linux"
    absent = [name for name in (*_PROGRAMS, *programs) if not shutil.which(name)]
    return f"not installed: {', '.join(absent)} (see .ci/run)" if absent else _refused()


@cache
def _refused() -> str:
    run = subprocess.run(_UNSHARE, check=False, capture_output=True, text=True)
    return f"no namespaces here: {run.stderr.strip()}" if run.returncode != 0 else ""


def _no_cgroups() -> str:
    absent = [name for name in CONTROLLERS if not os.access(ROOT / name, os.W_OK)]
    return f"no cgroup v1 controller to write to: {', '.join(absent)}" if absent else ""


def _mark(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(bool(reason), reason=reason)


bed = _mark(missing())
"""Namespaces, a network and its faults."""
cgroups = _mark(missing() or _no_cgroups())
"""Freezing and memory limits."""
pfs = _mark(missing("bindfs") or ("" if Path("/dev/fuse").exists() else "no FUSE here"))
"""A FUSE mount per node."""
taps = _mark(missing() or ("" if Path("/dev/net/tun").exists() else "no tap devices here"))
"""The user-space wire."""
slurm = _mark(missing("slurmctld", "slurmd", "munged") or ("" if Path("/etc/slurm").is_dir() else "no /etc/slurm"))
"""A Slurm cluster."""
uml = _mark(missing("linux.uml", "modprobe", "exportfs", "rpc.nfsd", "mount.nfs"))
"""Kernels of their own, and NFS between them."""
