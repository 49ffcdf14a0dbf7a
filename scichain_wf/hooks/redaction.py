r"""Secrets are replaced before anything is hashed: a record is for ever, and others read it.

Found are values after names that say so (`--token=…`, `PGPASSWORD=…`, `"api_key": …`), authorization headers,
passwords in URLs, private keys, keys of the forms that well-known services give them, and what the user's own
patterns say. Redaction is by pattern: it finds the usual, not everything.

A user's pattern is text in which `*` stands for any characters but white space and quotes: `corp-*`, `id:*:key`. It is
no regular expression, so that none can take for ever. For the same reason every expression here begins at a literal
and either repeats within bounds or gives back nothing: the time is a multiple of the length, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from scichain_wf import limits
from scichain_wf.errors import ConfigError

REDACTED: Final = "[redacted]"

_NAMES: Final = r"(?:passw(?:or)?d|passphrase|secret|token|credential|(?:api|access|private)[_-]?key)"
_VALUE: Final = r"(?!\[redacted\])(\\?\"[^\"]*+\"?|'[^']*+'?|[^\s\"';&|]++)"
_Rule = tuple[tuple[str, ...], re.Pattern[str], str]
"""Words of which one is in the text (in lower case) where the pattern can match, and what takes its place."""

_NAME_WORDS: Final = ("passw", "passphrase", "secret", "token", "credential", "key")
_SECRET_NAME: Final = re.compile(rf"{_NAMES}|authorization", re.IGNORECASE)
_FLAG: Final = re.compile(r"--?[A-Za-z][\w-]*\Z", re.ASCII)
_ASSIGNED: Final = re.compile(rf"(-{{0,2}}[\w.-]{{0,64}}?{_NAMES}[\w-]{{0,64}}[=:])(?=.)", re.IGNORECASE | re.DOTALL)

_RULES: Final[tuple[_Rule, ...]] = (
    (
        ("private key",),
        re.compile(r"(?s)()(-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,32}PRIVATE KEY-----|\Z))"),
        rf"\g<1>{REDACTED}",
    ),
    (
        ("authorization",),
        re.compile(r"(?i)(authorization\\?[\"']?\s{0,8}[=:]\s{0,8}+[\"']?+)(?!\[redacted\])([^\r\n\"']++)"),
        rf"\g<1>{REDACTED}",
    ),
    (
        ("bearer", "basic"),
        re.compile(r"(?i)(\b(?:bearer|basic)\s{1,8})([A-Za-z0-9._~+/-]{8,}+=*+)"),
        rf"\g<1>{REDACTED}",
    ),
    (
        _NAME_WORDS,
        re.compile(rf"(?i)({_NAMES}[\w-]{{0,64}}+\\?[\"']?\s{{0,8}}[=:]\s{{0,8}}){_VALUE}"),
        rf"\g<1>{REDACTED}",
    ),
    (
        _NAME_WORDS,
        re.compile(rf"(?i)((?<![\w-])--?[\w-]{{0,64}}?{_NAMES}[\w-]{{0,64}}+\s{{1,8}})(?!-){_VALUE}"),
        rf"\g<1>{REDACTED}",
    ),
    (("://",), re.compile(r"(://[^\s/:@]{0,256}+:)([^\s/@]{1,1024}+)(?=@)"), rf"\g<1>{REDACTED}"),
    (
        ("akia", "asia", "gh", "glpat-", "xox", "hf_", "sk-", "aiza", "eyj"),
        re.compile(
            r"()\b((?:AKIA|ASIA)[0-9A-Z]{16}\b|gh[pousr]_[A-Za-z0-9]{20,}+|github_pat_\w{20,}+|glpat-[\w-]{20,}+"
            r"|xox[abeoprs]-[\w-]{10,}+|hf_[A-Za-z0-9]{20,}+|AIza[\w-]{35}"
            r"|(?<!-)(?:sk-[\w-]{20,}+|eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+))"
        ),
        rf"\g<1>{REDACTED}",
    ),
)


class Redaction:
    """What is taken for a secret.

    Args:
        patterns: the user's own, beside the usual.

    Raises:
        ConfigError: a pattern that is too long, or does not begin with three characters other than `*`.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._own = [re.compile(_translated(pattern)) for pattern in patterns]
        if len(self._own) > limits.PATTERNS_MAX:
            raise ConfigError(f"{len(self._own)} patterns to redact: allowed are {limits.PATTERNS_MAX}")

    def text(self, text: str) -> str:
        """`text` with `[redacted]` in the place of each secret."""
        lowered = text.lower()
        for words, pattern, instead in _RULES:
            if any(word in lowered for word in words):
                text = pattern.sub(instead, text)
        for pattern in self._own:
            text = pattern.sub(REDACTED, text)
        return text

    def arguments(self, arguments: Sequence[str]) -> list[str]:
        """A command line, argument by argument: a secret ends where its argument ends, not at the next blank."""
        found, flag = [], ""
        for argument in arguments:
            assigned = _ASSIGNED.match(argument)
            if flag and self.is_name(flag) and not argument.startswith("-"):
                found.append(REDACTED)
            elif assigned is not None:
                found.append(assigned[1] + REDACTED)
            else:
                found.append(self.text(argument))
            flag = argument if _FLAG.match(argument) else ""
        return found

    @staticmethod
    def is_name(name: str) -> bool:
        """Whether what goes by this name is secret."""
        return _SECRET_NAME.search(name[: limits.NAME_CHARS_MAX]) is not None


def _translated(pattern: str) -> str:
    first, *others = pattern.split("*")
    if len(first.strip()) < 3 or len(pattern) > limits.NAME_CHARS_MAX:
        raise ConfigError(
            f"pattern to redact {pattern!r:.80}: it needs three characters before its first `*`, "
            f"and at most {limits.NAME_CHARS_MAX} in all"
        )
    parts = (rf"(?>[^\s\"']{{0,256}}?{re.escape(piece)})" if piece else r"[^\s\"']*+" for piece in others)
    return re.escape(first) + "".join(parts)


USUAL: Final = Redaction()
"""Without patterns of a user's own."""
