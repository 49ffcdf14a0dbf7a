"""The whole exception tree of scichain-wf.

Every message says what happened, to what, and what the reader can do about it. The command line maps a
class to its exit code by `exit_code`; nothing else decides one.

`InvariantViolation` stands outside the tree on purpose: it means this program is wrong, it halts the process,
and no `except ScichainError` may swallow it. It is raised explicitly, so that it survives `python -O`.
"""

from __future__ import annotations

from typing import ClassVar, Final

EXIT_OK: Final = 0
"""Verified, or done."""
EXIT_INTEGRITY: Final = 1
"""The record or a file is not what was committed."""
EXIT_USAGE: Final = 2
"""The command line or the configuration is wrong."""
EXIT_INCOMPLETE: Final = 3
"""Could not be checked or reached; neither proved nor refuted."""


class ScichainError(Exception):
    """Base of everything a caller may want to catch; never raised itself."""

    exit_code: ClassVar[int] = EXIT_INCOMPLETE


class ConfigError(ScichainError):
    """A configuration value is unknown, of the wrong type or out of its bounds."""

    exit_code = EXIT_USAGE


class UsageError(ScichainError):
    """The caller asked for something that makes no sense as asked."""

    exit_code = EXIT_USAGE


class DecodeError(ScichainError):
    """Bytes are not a record in canonical form within the limits; nothing was taken from them."""

    exit_code = EXIT_INTEGRITY


class UnsupportedVersion(DecodeError):
    """The record or chain is of a format newer than this program reads."""

    exit_code = EXIT_INCOMPLETE


class PeerError(ScichainError):
    """Another process could not be reached, or broke the protocol."""


class LedgerError(ScichainError):
    """A ledger could not be opened, read or written."""


class LedgerInUse(LedgerError):
    """A storage node of this host writes the chain, or is about to begin or to end: it can be joined, or waited for."""


class LedgerBusy(LedgerError):
    """Its storage node wrote on while it was read; reading again will do."""


class LedgerCorrupt(LedgerError):
    """Stored bytes are not what was stored."""

    exit_code = EXIT_INTEGRITY


class LedgerFull(LedgerError):
    """There is no room for more: the disk, the quota or the map is full. What was committed stays readable."""


class VerificationError(ScichainError):
    """A signature, root, proof or certificate does not hold."""

    exit_code = EXIT_INTEGRITY


class SubmissionError(ScichainError):
    """A transaction could not be handed over; the message says where it is kept."""


def reason_of(error: BaseException) -> str:
    """What `error` says; its class if it says nothing, or cannot."""
    try:
        return str(error) or type(error).__name__
    except (Exception, SystemExit):  # noqa: BLE001 - a foreign exception's own text may fail
        return type(error).__name__


class InvariantViolation(BaseException):
    """A rule this program promises to keep does not hold: a bug here, not bad input. Never caught."""
