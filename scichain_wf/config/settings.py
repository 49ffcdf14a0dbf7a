"""Every setting: its name, what it must be, and what it does. `Config` has a field for each, with its default.

To add one: a field in `Config`, an entry in `SETTINGS`, and somebody who reads it; the manual's page is made from here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scichain_wf import limits
from scichain_wf.errors import ConfigError, DecodeError

_HASH_POLICIES: Final = ("always", "cached", "size-mtime", "off")
"""As `hooks.digests.HashPolicy`, which is a layer above."""
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}\Z")
_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?\Z")
_ORCID: Final = re.compile(r"(?:https?://orcid\.org/)?([0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{3}[0-9X])\Z")
_TRUTH: Final = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)


@dataclass(frozen=True, slots=True)
class Config:
    """What can be configured; `SETTINGS` says what each does."""

    chain: Path | None = None
    nodes: int = 1
    strict: bool = False
    flush_timeout_s: float = 30.0
    ack: str = "local"
    hash_policy: str = "cached"
    size_mtime_patterns: tuple[str, ...] = ()
    size_mtime_above_mib: int | None = None
    redact: tuple[str, ...] = ()
    author: str | None = None
    author_key: Path | None = None
    interface: str = "127.0.0.1"
    port_range: str | None = None
    metrics_dir: Path | None = None
    burst_buffer: Path | None = None
    trust_root: str | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: as in files; `SCICHAIN_<NAME>` in the environment.
        expects: what a value must be, as it stands in messages.
        meaning: what it does.
        parse: makes the value of what a file's TOML says (and where a relative path starts).
        of_text: makes of an environment variable's text what TOML would have said.

    Both raise ValueError (TypeError) for what is not as expected.
    """

    name: str
    expects: str
    meaning: str
    parse: Callable[[object, Path], object]
    of_text: Callable[[str], object]


def _path(value: object, directory: Path) -> Path:
    if not isinstance(value, str) or not value or "\0" in value or len(value.encode()) > limits.PATH_BYTES_MAX:
        raise ValueError
    try:
        return directory / Path(value).expanduser()
    except RuntimeError:  # `~somebody` who does not exist
        raise ValueError from None


def _trust_root(value: object, _directory: Path) -> str:
    from scichain_wf.model.text import digest_bytes

    if not isinstance(value, str):
        raise TypeError
    try:
        digest_bytes(value)
    except DecodeError:
        raise ValueError from None
    return value


def _author(value: object, _directory: Path) -> str:
    """A name as it is, an ORCID iD as its address; a mistyped one is noticed by its check digit (ISO 7064, 11-2)."""
    if not isinstance(value, str) or not 0 < len(value) <= limits.NAME_CHARS_MAX or not value.isprintable():
        raise ValueError
    found = _ORCID.match(value)
    if found is None:
        return value
    total = 0
    for digit in (digits := found[1].replace("-", ""))[:15]:
        total = (total + int(digit)) * 2
    if digits[15] != "0123456789X"[(12 - total % 11) % 11]:
        raise ValueError
    return f"https://orcid.org/{found[1]}"


def _interface(value: object, _directory: Path) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= limits.NAME_CHARS_MAX:
        raise ValueError
    return value


def _port_range(value: object, _directory: Path) -> str:
    from scichain_wf.transport.interface import port_range

    if not isinstance(value, str):
        raise TypeError
    try:
        port_range(value)
    except ConfigError:
        raise ValueError from None
    return value


def _truth(value: object, _directory: Path) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _ack(value: object, _directory: Path) -> str:
    if value not in ("local", "committed"):
        raise ValueError
    return str(value)


def _hash_policy(value: object, _directory: Path) -> str:
    if value not in _HASH_POLICIES:
        raise ValueError
    return str(value)


def _patterns(value: object, _directory: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > limits.PATTERNS_MAX:
        raise TypeError
    if not all(isinstance(pattern, str) and 3 <= len(pattern) <= limits.NAME_CHARS_MAX for pattern in value):
        raise ValueError
    return tuple(value)


def _patterns_of(text: str) -> object:
    return [pattern for pattern in text.split(",") if pattern]


def _truth_of(text: str) -> object:
    return _TRUTH.get(text.strip().lower())


def _number(least: float, most: float, kind: type[int | float]) -> Callable[[object, Path], object]:
    def parse(value: object, _directory: Path) -> object:
        if isinstance(value, bool) or not isinstance(value, (int, kind)) or not least <= value <= most:
            raise ValueError
        return kind(value)

    return parse


def _integer_of(text: str) -> object:
    return int(text) if _INTEGER.match(text) else None


def _decimal_of(text: str) -> object:
    return float(text) if _DECIMAL.match(text) else None


SETTINGS: Final = (
    Setting(
        "chain",
        "the path of a chain's directory",
        "Directory of the chain. A relative path starts at the file that names it, or where the command is given. "
        "Default: `.scichain` in the workflow's working directory; commands also look above it.",
        _path,
        str,
    ),
    Setting(
        "nodes",
        f"a number of agents from 1 to {limits.EMBEDDED_NODES_MAX}",
        "How many agents a workflow's own service starts; they certify each other's records.",
        _number(1, limits.EMBEDDED_NODES_MAX, int),
        _integer_of,
    ),
    Setting(
        "strict",
        "true or false",
        "Whether a workflow fails rather than run anything that cannot be recorded.",
        _truth,
        _truth_of,
    ),
    Setting(
        "flush_timeout_s",
        f"a number of seconds from {limits.FLUSH_TIMEOUT_S_MIN:g} to {limits.FLUSH_TIMEOUT_S_MAX:g}",
        "How long the end of a run waits until everything is committed. What is not by then waits for the next run.",
        _number(limits.FLUSH_TIMEOUT_S_MIN, limits.FLUSH_TIMEOUT_S_MAX, float),
        _decimal_of,
    ),
    Setting(
        "ack",
        "`local` or `committed`",
        "When a record counts as handed over: when it is in an outbox or the spool, or only when it is on the "
        f"chain. A workflow then waits for each commit, {limits.ACK_TIMEOUT_S:.0f} s at most; what is not committed by "
        "then is acknowledged locally, which the end of the run tells, or with `strict` an error.",
        _ack,
        str,
    ),
    Setting(
        "hash_policy",
        f"one of {', '.join(f'`{policy}`' for policy in _HASH_POLICIES)}",
        "How much of each input and output is read for its record: all of it each time; all of it unless it was read "
        "before and has not changed since; size and time only; nothing. Without a digest `verify` cannot tell whether "
        "a file is what a task made.",
        _hash_policy,
        str,
    ),
    Setting(
        "size_mtime_patterns",
        f"an array of at most {limits.PATTERNS_MAX} patterns, each of 3 to {limits.NAME_CHARS_MAX} characters",
        "Files and directories of which only size and time are recorded although `hash_policy` reads others: shell "
        "patterns over the path as the workflow spells it, or over its last part (`*.fastq.gz`, `raw/*`). In the "
        "environment patterns are separated by commas.",
        _patterns,
        _patterns_of,
    ),
    Setting(
        "size_mtime_above_mib",
        "a number of mebibytes from 1",
        "Files of more than so many mebibytes are recorded by size and time only. Default: none, of whatever size.",
        _number(1, limits.INTEGER_MAX >> 20, int),
        _integer_of,
    ),
    Setting(
        "redact",
        f"an array of at most {limits.PATTERNS_MAX} patterns, each of 3 to {limits.NAME_CHARS_MAX} characters",
        "What is replaced by `[redacted]` in recorded commands and parameters, beside what usually is a secret. `*` "
        "stands for anything but blanks and quotes. In the environment patterns are separated by commas.",
        _patterns,
        _patterns_of,
    ),
    Setting(
        "author",
        f"an ORCID iD (`0000-0002-1825-0097`), or a name of at most {limits.NAME_CHARS_MAX} characters",
        "In whose name runs are recorded. Default: nobody's; the user name is recorded in any case.",
        _author,
        str,
    ),
    Setting(
        "author_key",
        "the path of a key file",
        "File of the key that signs the end of each run (`scichain-wf key FILE` makes one). Default: none.",
        _path,
        str,
    ),
    Setting(
        "interface",
        "the name of a network interface, or an address of this host",
        "Where `storage` and `node` listen for processes on other hosts (`ib0`, `eth0`, `10.0.0.7`).",
        _interface,
        str,
    ),
    Setting(
        "port_range",
        "a range of ports, for instance `20000-20100`",
        "Which ports `storage` and `node` may listen on. Default: any.",
        _port_range,
        str,
    ),
    Setting(
        "metrics_dir",
        "the path of a directory",
        "Where each storage process and agent leaves its figures, as Prometheus text, while it runs; for the textfile "
        "collector of this host's node exporter. A relative path starts as in `chain`. Default: `run/metrics` in the "
        "chain's directory.",
        _path,
        str,
    ),
    Setting(
        "burst_buffer",
        "the path of a directory",
        "A directory on this host's own disk for records that the outboxes in shared memory do not take (no room, or "
        "storage is away for long); its agents commit them as soon as they can. Yours or root's, with a sticky bit if "
        "others may write to it, and the same for all runs on a host. Default: such records go to the spool in the "
        "chain's directory.",
        _path,
        str,
    ),
    Setting(
        "trust_root",
        "a chain id, `sha256:` and 64 hexadecimal digits",
        "The chain you mean, as `sha256:<hex>`: `verify` and `audit` fail for any other. Keep it where the chain's "
        "owner cannot write.",
        _trust_root,
        str,
    ),
)
BY_NAME: Final = {setting.name: setting for setting in SETTINGS}
