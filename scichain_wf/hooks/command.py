"""Runs a command as if nobody stood between it and who started it: same terminal, same signals, same fate.

The command is in this process's group, so what a terminal sends (Ctrl-C, hang-up) reaches it anyway and is only waited
out here; what was sent to this process alone (`kill`, a batch system) is passed on. Linux only.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
"""Exit codes of a command that could not be started, as every shell gives them."""
_PASSED_ON: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGXCPU,
)
_DEFAULTS: Final = (signal.SIGPIPE, signal.SIGXFSZ)
"""What Python ignores, and a program does not expect to be ignored."""
_FROM_KERNEL: Final = 0x80
"""`si_code` of a signal that a terminal sends (Linux: SI_KERNEL)."""


@dataclass(frozen=True, slots=True)
class Fate:
    """How a command ended.

    Attributes:
        exit_status: its exit code, or the negative number of the signal that ended it.
        reason: why it could not be started; empty if it was.
    """

    exit_status: int
    reason: str = ""

    @property
    def exit_code(self) -> int:
        """As a shell reports it: 128 + n for signal n."""
        return self.exit_status if self.exit_status >= 0 else 128 - self.exit_status

    @property
    def interrupted(self) -> bool:
        """Whether somebody ended it, rather than it itself."""
        asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        return -self.exit_status in asked or self.exit_status in {128 + number for number in asked}


def run_command(arguments: Sequence[str]) -> Fate:
    """Run a program, found on PATH, until it ends. Only without other threads: they would take its signals."""
    watched = {*_PASSED_ON, signal.SIGCHLD}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        try:
            pid = os.posix_spawnp(
                arguments[0], list(arguments), dict(os.environ), setsigmask=mask, setsigdef=_DEFAULTS
            )
        except OSError as error:
            code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            return Fate(code, f"{arguments[0]}: {error.strerror}")
        return Fate(_watch(pid, watched))
    finally:
        while signal.sigtimedwait(watched, 0) is not None:
            pass  # it was for the command, which has ended
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _watch(pid: int, watched: set[signal.Signals]) -> int:
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        received = signal.sigwaitinfo(watched)
        if received.si_signo != signal.SIGCHLD and received.si_code != _FROM_KERNEL:
            with suppress(PermissionError):  # it has become another user's (sudo): it is waited for nevertheless
                os.kill(pid, received.si_signo)
