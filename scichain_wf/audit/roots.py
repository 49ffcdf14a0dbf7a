"""From artifact URIs to paths on this machine and back, through the roots that runs registered.

A root is looked for, in this order, where the caller says, where it lies relative to the chain's own directory
(so that a copy of workflow and chain together still resolves), and at the absolute path that was recorded.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast
from urllib.parse import unquote_to_bytes

from scichain_wf.errors import DecodeError, UsageError
from scichain_wf.ledger import keys
from scichain_wf.ledger.rawread import RawLedger
from scichain_wf.model import transaction, uri
from scichain_wf.model.block import BlockFrame
from scichain_wf.model.canonical import JsonObject

RUNS_LOOKED_AT_MAX: Final = 256
"""For one file, roots of the newest runs are enough: a root keeps its id over re-runs."""
_ENTRIES_LOOKED_AT_MAX: Final = 1 << 18
"""In search of `run-start`s that are not the first of their runs: a chain may be made to have none."""
_HOST_CHARS: Final = re.compile(r"[^A-Za-z0-9._-]")

Place = tuple[int, int]
"""Height and index of a transaction."""


@dataclass
class Roots:
    """Where each root is on this machine: candidates by root id, resolved, the preferred first."""

    chain_dir: bytes
    overrides: Mapping[str, str | bytes | Path] = field(default_factory=dict)
    places: dict[str, list[bytes]] = field(default_factory=dict)
    recorded: dict[str, set[bytes]] = field(default_factory=dict)
    """Where runs said each root is, on their hosts."""
    beside: dict[str, set[str]] = field(default_factory=dict)
    """Where runs said each root is, seen from the chain."""
    told: dict[tuple[str, bytes], Place] = field(default_factory=dict)
    """By root id and resolved place, the `run-start` that said so first; what the caller said is not in it."""

    def learn(self, start: JsonObject, told: Place) -> None:
        """Take over the roots of one `run-start` body, which is at `told`."""
        for root in cast("list[dict[str, str]]", start["roots"]):
            known = self.places.setdefault(root["id"], [])
            if root["id"] in self.overrides and not known:
                known.append(os.path.realpath(os.fsencode(self.overrides[root["id"]])))
            if "from_chain" in root:
                self.beside.setdefault(root["id"], set()).add(root["from_chain"])
                self._add(root["id"], os.path.join(self.chain_dir, unquote_to_bytes(root["from_chain"])), told)
            self._add(root["id"], unquote_to_bytes(root["path"]), told)
            self.recorded.setdefault(root["id"], set()).add(os.path.realpath(unquote_to_bytes(root["path"])))

    def moved(self) -> Iterator[tuple[str, list[str]]]:
        """Roots that runs place differently, with the places. An id is made from one place, so that is no accident."""
        for root, recorded in sorted(self.recorded.items()):
            places = [os.fsdecode(place) for place in recorded]
            beside = self.beside.get(root, set())
            if root not in self.overrides and (len(recorded) > 1 or len(beside) > 1):
                yield root, sorted({*places, *beside})

    def path_of(self, artifact: str) -> bytes | None:
        """Where the artifact is on this machine; None if that cannot be told from here."""
        try:
            parsed = uri.parse(artifact)
        except DecodeError:
            return None
        if parsed.scheme == "file" and parsed.authority in ("", this_host()):
            return parsed.path
        if parsed.scheme != "work":
            return None
        place = self.place_of(parsed.authority)
        return None if place is None else os.path.join(place, parsed.path)

    def place_of(self, root: str) -> bytes | None:
        """The directory that a root is taken to be here."""
        return next((place for place in self.places.get(root, []) if os.path.isdir(place)), None)

    def guessed(self, artifact: str) -> bytes | None:
        """The place of the artifact's root, if it is neither the recorded one nor the caller's, but that of a copy."""
        scheme, _, rest = artifact.partition(":")
        root = rest.partition("/")[0]
        if scheme != "work" or root in self.overrides:
            return None
        place = self.place_of(root)
        return None if place is None or place in self.recorded.get(root, set()) else place

    def uris_of(self, path: bytes) -> Iterator[tuple[str, Place | None]]:
        """Every URI that may have been recorded for an absolute path, and by which `run-start`'s word it is that.

        The path as it is spelled counts too, with its directory resolved: a file that was replaced by a symbolic
        link must still be found under its own name.
        """
        directory, name = os.path.split(path)
        spellings = dict.fromkeys([os.path.realpath(path), os.path.join(os.path.realpath(directory), name)])
        for spelled in spellings:
            for root, places in self.places.items():
                for place in places:
                    inside = place.rstrip(b"/") + b"/"
                    if spelled.startswith(inside) and len(spelled) > len(inside):
                        yield uri.work_uri(root, spelled[len(inside) :]), self.told.get((root, place))
            if spelled != b"/":
                yield uri.file_uri(spelled), None
                yield uri.file_uri(spelled, this_host()), None

    def _add(self, root: str, path: bytes, told: Place) -> None:
        known, resolved = self.places[root], os.path.realpath(path)
        if resolved not in known:
            known.append(resolved)
            self.told[root, resolved] = told


def this_host() -> str:
    """This host's name as URIs spell it."""
    return _HOST_CHARS.sub("_", socket.gethostname()).lower() or "localhost"


def absolute(path: str | bytes | Path) -> bytes:
    """A path as absolute bytes, symlinks kept.

    Raises:
        UsageError: it cannot be a path.
    """
    raw = os.fsencode(path)
    if not raw or b"\0" in raw:
        raise UsageError(f"{path!r:.200} is not a path")
    return os.path.abspath(raw)


def read_transaction(ledger: RawLedger, height: int, index: int) -> JsonObject:
    """One transaction by its place.

    Raises:
        DecodeError: there is none, or it cannot be read.
    """
    data = ledger.block(height)
    frame = BlockFrame.of(data if data is not None else b"")
    if index >= frame.count:
        raise DecodeError(f"the block at height {height} has no transaction {index}")
    return transaction.parse(frame.transaction(index))


def run_starts(ledger: RawLedger, runs: Iterable[bytes]) -> Iterator[tuple[JsonObject, Place]]:
    """The `run-start` bodies of some runs and where they are; a run without one is passed over.

    Where many tasks begin at once, others' outboxes may be read first: hundreds of records then come before it.
    """
    left = _ENTRIES_LOOKED_AT_MAX
    for run in runs:
        for key, kind in ledger.prefixed(keys.RUNS, run):
            if kind == b"run-start" and len(key) == 16 + keys.POSITION.size:
                place: Place = keys.POSITION.unpack_from(key, 16)
                try:
                    value = read_transaction(ledger, *place)
                except DecodeError:
                    break  # named by the chain's verification
                if value["kind"] == "run-start":
                    yield cast("JsonObject", value["body"]), place
                break
            left -= 1
            if left < 0:
                break


def runs_newest_first(ledger: RawLedger) -> Iterator[bytes]:
    """Run ids, the newest first, one read each."""
    before = b""
    while (key := next(ledger.backwards(keys.RUNS, before), None)) is not None:
        before = key[:16]
        yield before
