"""What an artifact was made from, and what was made from it: along recorded digests, over all runs and engines.

A task read what another made if it names the same artifact with the same digest (or, where nobody hashed it, the newest
version before). An input that nobody recorded under its own name is followed by its content: a file that one workflow
left and another was given under a new name. Nothing is verified here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from scichain_wf.audit.artifact import find_record
from scichain_wf.audit.files import FileLooker
from scichain_wf.audit.roots import Place, absolute
from scichain_wf.errors import DecodeError, UsageError
from scichain_wf.ledger import keys
from scichain_wf.ledger.isolate import isolated
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.ledger.rawread import RawLedger, RawVersion, shared
from scichain_wf.ledger.walk import outline
from scichain_wf.model import transaction, uri
from scichain_wf.model.block import BlockFrame
from scichain_wf.model.link import Link, Mark

_NOTHING: Final = sha256(b"").digest()
"""The content of every empty file: that two are empty does not make one the other."""
_END: Final = 2**63


class Artifact(NamedTuple):
    """One content of one artifact; `digest` is 64 hex digits, or nothing where none was recorded."""

    uri: str
    digest: str


class Step(NamedTuple):
    """One task on the way. `inputs` and `outputs` are those that are part of the lineage."""

    task: str
    run: str
    engine: str
    height: int
    transaction: int
    inputs: list[Artifact]
    outputs: list[Artifact]


@dataclass
class Lineage:
    """Steps from `artifact` on; `same` are pairs (read as, recorded as) of one content under two names."""

    artifact: Artifact
    direction: str
    steps: list[Step] = field(default_factory=list)
    same: list[tuple[Artifact, Artifact]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        steps = [
            step._asdict() | {name: [a._asdict() for a in getattr(step, name)] for name in ("inputs", "outputs")}
            for step in self.steps
        ]
        same = [{"read": read._asdict(), "recorded": recorded._asdict()} for read, recorded in self.same]
        return {"artifact": self.artifact._asdict(), "direction": self.direction, "steps": steps, "same_content": same}


def lineage(
    chain_dir: str | Path, name: str | bytes | Path, *, up: bool, roots: Mapping[str, str | bytes | Path] | None = None
) -> Lineage:
    """The lineage of the newest record of a file or artifact.

    Args:
        chain_dir: the chain directory; it is only read.
        name: a path, or an artifact's URI as it is recorded.
        up: what it was made from; else what was made from it.
        roots: as in `verify_files`.

    Raises:
        UsageError: nothing is recorded under that name.
        LedgerError: not a chain, or not readable.
    """
    layout = ChainLayout(Path(chain_dir))
    place = name if isinstance(name, str) and _is_uri(name) else absolute(name)
    found = isolated(_lineage, layout.live_ledger(), str(layout.root.absolute()), place, dict(roots or {}), up)
    if found is None:
        raise UsageError(f"{str(name)!r:.200}: no task on this chain says that it made or read such a file")
    return found


def _is_uri(name: str) -> bool:
    try:
        return ":" in name and bool(uri.parse(name))
    except DecodeError:
        return False


# --- in the child -----------------------------------------------------------------------------------
def _lineage(
    directory: Path, chain_dir: str, name: str | bytes, roots: dict[str, str | bytes | Path], up: bool
) -> Lineage | None:
    summary = outline(directory)
    ledger = shared(directory, summary.moment)
    if isinstance(name, bytes):
        item = find_record(ledger, chain_dir, name, roots)
        if item is None:
            return None
        artifact_uri, version = item.uri, item.version
    else:
        newest = next(ledger.versions_before(name, _END, 0), None)
        if newest is None:
            return None
        artifact_uri, version = name, newest
    found = Lineage(Artifact(artifact_uri, version.digest.hex()), "up" if up else "down")
    if up:
        _Upwards(ledger, found).walk(version)
    else:
        _Downwards(ledger, found, summary.size).walk(version.height)
    return found


def _step(value: dict[str, Any], place: Place, inputs: list[Artifact], outputs: list[Artifact]) -> Step:
    body = value["body"]
    engine = f"{body['engine']['name']} {body['engine']['version']}"
    return Step(body["task"], value["run"], engine, *place, inputs, outputs)


def _artifacts(items: list[dict[str, str]]) -> list[Artifact]:
    return [Artifact(item["uri"], item.get("digest", "")[7:]) for item in items]


class _Upwards:
    """From an artifact to its sources, by the index of artifacts: in proportion to the answer."""

    def __init__(self, ledger: RawLedger, found: Lineage) -> None:
        self._ledger, self._found = ledger, found
        self._looker = FileLooker(ledger)
        self._steps: dict[Place, Step] = {}
        self._sources: dict[Artifact, Place] = {}

    def walk(self, version: RawVersion) -> None:
        """Everything above a version."""
        waiting = [(self._found.artifact, version)]
        while waiting:
            for artifact, made in waiting:
                self._made(artifact, made)
            waiting = list(self._elsewhere())
        self._found.steps = list(self._steps.values())

    def _made(self, artifact: Artifact, version: RawVersion) -> None:
        queue = [(artifact, version)]
        for wanted, made in queue:
            place = made.height, made.index
            if place in self._steps:
                if wanted not in self._steps[place].outputs:
                    self._steps[place].outputs.append(wanted)
                continue
            try:
                value = cast("dict[str, Any]", self._looker.producer(made).value)
            except DecodeError:
                continue  # verification names it
            inputs = _artifacts(value["body"]["inputs"])
            self._steps[place] = _step(value, place, inputs, [wanted])
            for read in inputs:
                before = self._version(read, place)
                if before is None:
                    self._sources.setdefault(read, place)
                else:
                    queue.append((read, before))

    def _version(self, read: Artifact, place: Place) -> RawVersion | None:
        """The newest version that a reader could have meant; a later one where its record came late."""
        for before in (place, (_END, 0)):
            for version in self._ledger.versions_before(read.uri, *before):
                is_it = not read.digest or version.digest.hex() == read.digest
                if is_it and (version.height, version.index) != place:
                    return version
        return None

    def _elsewhere(self) -> Iterator[tuple[Artifact, RawVersion]]:
        """Versions with the content of sources, under other names, recorded before the source was read."""
        wanted: dict[bytes, list[tuple[Artifact, Place]]] = {}
        for read, place in self._sources.items():
            digest = bytes.fromhex(read.digest)
            if digest and digest != _NOTHING:
                wanted.setdefault(digest, []).append((read, place))
        self._sources.clear()
        best: dict[Artifact, tuple[RawVersion, bytes]] = {}
        for key, value in self._ledger.entries(keys.ARTIFACTS) if wanted else ():
            for read, place in wanted.get(value, ()) if len(key) > keys.OUTPUT.size else ():
                version = RawVersion.of(key, value)
                if (version.height, version.index) < place and (read not in best or version > best[read][0]):
                    best[read] = version, value
        for read, (version, _) in best.items():
            try:
                recorded = _artifacts([cast("dict[str, str]", self._looker.producer(version).output)])[0]
            except DecodeError:
                continue  # verification names it
            self._found.same.append((read, recorded))
            yield recorded, version


class _Downwards:
    """From an artifact to all that followed, in one pass in commit order: what is read was recorded before."""

    def __init__(self, ledger: RawLedger, found: Lineage, size: int) -> None:
        self._ledger, self._found, self._size = ledger, found, size
        self._reached = {found.artifact: found.artifact}
        self._newest = {found.artifact.uri: found.artifact}
        self._contents = {found.artifact.digest: found.artifact} if found.artifact.digest else {}
        self._contents.pop(_NOTHING.hex(), None)
        self._steps: dict[Place, Step] = {}

    def walk(self, height: int) -> None:
        """Everything below, from `height` on; again while records that came late make it grow."""
        late, before = self._pass(height), -1
        while late and len(self._steps) != before:
            before = len(self._steps)
            self._pass(0)
        self._found.steps = [self._steps[place] for place in sorted(self._steps)]

    def _pass(self, begin: int) -> bool:
        late = False
        for height in range(begin, self._size):
            try:
                link = Link.decode(self._ledger.get(keys.LINKS, keys.height_key(height)) or b"")
                frame = BlockFrame.of(self._ledger.block(height) or b"")
                marks = {(a.index, a.mark) for a in link.annotations}
                late = late or any(mark is Mark.UNRESOLVED for _, mark in marks)
                for index in range(frame.count):
                    if (index, Mark.DUPLICATE) not in marks:
                        value = cast("dict[str, Any]", transaction.parse(frame.transaction(index)))
                        if value["kind"] == "task":
                            self._task(value, (height, index))
            except DecodeError:
                continue  # verification names it
        return late

    def _task(self, value: dict[str, Any], place: Place) -> None:
        read = [artifact for artifact in _artifacts(value["body"]["inputs"]) if self._is_reached(artifact, place)]
        made = _artifacts(value["body"]["outputs"])
        if not read:
            for artifact in made:  # somebody else's newer version is what is read without a digest from here on
                if artifact not in self._reached:
                    self._newest.pop(artifact.uri, None)
            return
        self._steps[place] = _step(value, place, read, made)
        for artifact in made:
            self._reached[artifact] = self._newest[artifact.uri] = artifact
            if artifact.digest not in ("", _NOTHING.hex()):
                self._contents.setdefault(artifact.digest, artifact)

    def _is_reached(self, artifact: Artifact, place: Place) -> bool:
        if artifact in self._reached or (not artifact.digest and artifact.uri in self._newest):
            return True
        recorded = self._contents.get(artifact.digest)
        if recorded is None or next(self._ledger.versions_before(artifact.uri, *place), None) is not None:
            return False
        self._found.same.append((artifact, recorded))
        self._reached[artifact] = artifact
        return True
