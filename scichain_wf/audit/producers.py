"""Artifacts that two tasks of one run both say they made: which of the two a reader got cannot be told afterwards.

Whoever wants a changed file to match its newest record has to state such a record, so this is also how that shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, groupby
from typing import cast

from scichain_wf.audit.files import FileLooker, Producer
from scichain_wf.errors import DecodeError
from scichain_wf.ledger import keys
from scichain_wf.ledger.problem import Problem, Problems
from scichain_wf.ledger.rawread import RawLedger, RawVersion

_SIZE = keys.OUTPUT.size


def check_producers(ledger: RawLedger, run: bytes | None) -> Problems:
    """Name every artifact with different contents by different tasks of one run, of all runs or of `run`.

    A task that also reads what it overwrites, with the content recorded before, is a step in a row and no rival; nor is
    another attempt of the same task.
    """
    looker, problems = FileLooker(ledger), Problems()
    only = None if run is None else run.hex()
    for versions in _repeated(ledger):
        last: dict[str, tuple[RawVersion, str]] = {}  # by run
        for version in versions:
            try:
                producer = looker.producer(version)
            except DecodeError:
                continue  # named by the verification
            made_in, task = cast("str", producer.value["run"]), cast("str", producer.body["task"])
            if only not in (None, made_in):
                continue
            before = last.get(made_in)
            last[made_in] = version, task
            if before is not None and before[1] != task and _are_rivals(before[0], version, producer):
                uri, actual = cast("str", producer.output["uri"]), f"{before[1]!r:.200} and {task!r:.200}"
                problems.add(Problem("trace-two-producers", uri, "one task", actual, version.height, version.index))
    return problems


def _are_rivals(before: RawVersion, version: RawVersion, producer: Producer) -> bool:
    """Whether a version replaces another content than its maker read."""
    if before.digest in (b"", version.digest):
        return False
    read = cast("list[dict[str, str]]", producer.body["inputs"])
    return all((i["uri"], i.get("digest", "")[7:]) != (producer.output["uri"], before.digest.hex()) for i in read)


def _repeated(ledger: RawLedger) -> Iterator[Iterator[RawVersion]]:
    """The versions of every artifact that has several, in commit order."""
    for prefix, group in groupby(ledger.entries(keys.ARTIFACTS), key=lambda entry: entry[0][:-_SIZE]):
        entries = iter(group)
        first, second = next(entries), next(entries, None)
        if second is not None and prefix:
            yield (RawVersion.of(*entry) for entry in chain((first, second), entries))
