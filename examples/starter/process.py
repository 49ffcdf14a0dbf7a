"""Child processes: their environment, their progress, their end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

GRACE_S = 15.0
"""How long interrupted processes may take to clean up before they are told to end less politely."""

# These would send packages, imports or the interpreter somewhere else than into our environment. What says how to
# reach a package index (PIP_CERT, PIP_INDEX_URL, proxies, ...) is kept.
MISLEADING = (
    "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_NO_DEPS", "PIP_DRY_RUN", "PIP_EDITABLE",
    "PIP_REQUIREMENT", "PIP_IGNORE_INSTALLED", "PIP_NO_BUILD_ISOLATION", "PIP_REPORT", "PIP_QUIET", "PIP_VERBOSE",
    "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONSTARTUP", "PYTHONPLATLIBDIR", "PYTHONSAFEPATH",
    "PYTHONOPTIMIZE", "PYTHONWARNINGS", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__",
)  # fmt: skip


def clean_environ(binaries: Path | None = None) -> dict[str, str]:
    """This process' variables without the misleading ones; `binaries` goes first on PATH."""
    environ = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    # Set, not removed: a variable also wins over `user = true` in a pip.conf.
    environ.update(PIP_USER="0", PIP_REQUIRE_VIRTUALENV="0", PIP_DISABLE_PIP_VERSION_CHECK="1", PYTHONNOUSERSITE="1")
    if binaries is not None:
        environ["PATH"] = os.pathsep.join([str(binaries), environ.get("PATH", os.defpath)])
    return environ


@contextlib.contextmanager
def running(
    command: Sequence[str], cwd: Path, environ: dict[str, str], output: IO[bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A child that never outlives the block: interrupted along with us, given time to clean up, then killed."""
    errors = None if output is None else subprocess.STDOUT
    # A process group of its own: children of the child are reached as well, and nobody is told to end twice.
    child = subprocess.Popen(
        command, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, process_group=0
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            end_group(child)


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End a child and all that it started, ever less politely; returns when none is left."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signum)
            deadline = time.monotonic() + GRACE_S
            while time.monotonic() < deadline:
                child.poll()  # a child that has ended is a member of its group until we ask for its exit code
                os.killpg(child.pid, 0)
                time.sleep(0.05)
            continue
        return


def shown(command: Sequence[str], cwd: Path, environ: dict[str, str]) -> int:
    """Run a command whose output belongs to the reader; returns its exit code."""
    sys.stdout.flush()
    with running(command, cwd, environ) as child:
        return child.wait()


def quiet(what: str, command: Sequence[str], cwd: Path, environ: dict[str, str]) -> tuple[int, str]:
    """Run a command behind one line of progress; returns its exit code and everything it printed."""
    live = sys.stderr.isatty()
    started = time.monotonic()
    if not live:
        print(f"  {what} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryFile() as log, running(command, cwd, environ, log) as child:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.5)
            if child.returncode is not None:
                break
            if live:
                print(f"\r  {what} ... {time.monotonic() - started:.0f} s", end="", file=sys.stderr, flush=True)
        log.seek(0)
        text = log.read().decode(errors="replace")
    end = "done" if child.returncode == 0 else "FAILED"
    start = "\r" if live else ""
    print(f"{start}  {what} ... {end}, {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    return child.returncode, text
