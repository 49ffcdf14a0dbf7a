"""`snakemake --logger scichain`: records the run in a tamper-evident chain.

Imported by every Snakemake start of the environment, inner ones included: so nothing of `scichain_wf` is imported
until the plugin is chosen, and nothing here can fail. Trouble with recording never changes what Snakemake does or
returns, unless `--logger-scichain-strict` asks for it.
"""
# Annotations here must be real types, and no unions of the new kind: Snakemake builds its command line from them.
# ruff: noqa: UP045

import sys
from dataclasses import dataclass, field
from logging import LogRecord
from typing import Any, Optional

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase


def _flag(meaning: str, metavar: str = "VALUE", default: object = None) -> Any:
    """A flag that is not given leaves the choice to configuration or default."""
    return field(default=default, metadata={"help": meaning, "metavar": metavar})


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """The flags `--logger-scichain-...`; what each may be and does is in `scichain_wf.config.settings`."""

    nodes: Optional[int] = _flag("Agents that validate the run's records (default: 1).", "NUMBER")
    chain: Optional[str] = _flag(
        "Directory of the chain (default: .scichain in the workflow's working directory).", "DIR"
    )
    strict: bool = _flag("Fail rather than run anything that cannot be recorded.", default=False)
    flush_timeout_s: Optional[float] = _flag(
        "Seconds that the end of the run waits until everything is committed (default: 30).", "SECONDS"
    )
    ack: Optional[str] = _flag(
        "When a record counts as handed over: local (default), or committed: jobs then wait for the chain.", "WHEN"
    )
    hash_policy: Optional[str] = _flag(
        "How much of files is read: always, cached (default), size-mtime, off.", "POLICY"
    )
    size_mtime_patterns: Optional[str] = _flag(
        "Files of which only size and time are recorded: shell patterns, separated by commas.", "PATTERNS"
    )
    size_mtime_above_mib: Optional[int] = _flag("The same for files of more mebibytes.", "MIB")
    redact: Optional[str] = _flag(
        "What else is secret in commands and parameters: patterns, separated by commas.", "PATTERNS"
    )
    author: Optional[str] = _flag("ORCID iD or name in which the run is recorded.", "NAME")
    author_key: Optional[str] = _flag("File of the key that signs the run's end.", "FILE")


class LogHandler(LogHandlerBase):
    """Arms the recording executor when Snakemake starts, and says what was recorded when it ends."""

    _tally: Optional[Any] = None
    """Who listens to the log; None while this is not armed."""
    _unheard: Optional[Exception] = None

    def __post_init__(self) -> None:
        """Before Snakemake looks its executor up. Starts nothing yet."""
        if getattr(self.common_settings, "dryrun", False):
            return
        try:
            from snakemake_logger_plugin_scichain.handler import arm

            self._tally = arm(self)
        except Exception as error:  # noqa: BLE001 - HOOK-1
            self._refuse(error)

    def emit(self, record: LogRecord) -> None:
        """Count what Snakemake says it ran. An exception here would stop all logging."""
        if self._tally is not None:
            try:
                self._tally.note(record)
            except Exception as error:  # noqa: BLE001 - HOOK-1
                self._unheard = error

    def close(self) -> None:
        """When the workflow is over: commit everything, print one line. Strict: an incomplete record is a failure."""
        acceptable = True
        tally, self._tally = self._tally, None
        unheard, self._unheard = self._unheard, None
        if unheard is not None:
            _say(f"scichain: jobs that left no record may go unnoticed: Snakemake's log is unknown: {unheard!r}")
        if tally is not None:
            try:
                from snakemake_logger_plugin_scichain.handler import close

                acceptable = close(self.common_settings, tally)
            except Exception as error:  # noqa: BLE001 - HOOK-1
                acceptable = not getattr(self.settings, "strict", False)
                _say(f"scichain: the run could not be ended properly: {error}")
        super().close()
        if not acceptable:
            sys.exit(1)  # Snakemake takes exceptions of a logger for nothing; this it lets through

    def _refuse(self, error: Exception) -> None:
        mend = ": pip install --force-reinstall 'scichain-wf[snakemake]'" if isinstance(error, ImportError) else ""
        _say(f"scichain: this run is not recorded: {error}{mend}")
        if getattr(self.settings, "strict", False):
            from snakemake_interface_common.exceptions import WorkflowError

            raise WorkflowError("scichain (strict): nothing was run") from None

    @property
    def writes_to_stream(self) -> bool:
        """Snakemake's own output stays as it is."""
        return False

    @property
    def writes_to_file(self) -> bool:
        """No log file."""
        return False

    @property
    def has_filter(self) -> bool:
        """So that `--quiet` does not filter for us."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Nothing is formatted."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """The jobs say it all."""
        return False


def _say(line: str) -> None:
    from snakemake_executor_plugin_scichain.saying import say  # when there is something to say, and not before

    say(line)
