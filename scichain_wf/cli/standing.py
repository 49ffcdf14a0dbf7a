"""How a chain stands right now: what `status` prints once and `watch` again and again. Only reads, takes no lock."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from scichain_wf import limits
from scichain_wf.cli.reading import open_view, when
from scichain_wf.client.burst import burst_directory, is_burst
from scichain_wf.client.spool import list_spool
from scichain_wf.errors import DecodeError, LedgerBusy, SubmissionError
from scichain_wf.ledger.layout import ChainLayout
from scichain_wf.model.checkpoint import Checkpoint
from scichain_wf.model.text import digest_text
from scichain_wf.node import leftovers
from scichain_wf.node.figures import SLOTS_FILE
from scichain_wf.node.markers import Identity, Marker

if TYPE_CHECKING:
    from scichain_wf.ledger.view import ChainView

T = TypeVar("T")
_WRITER: Final = re.compile(r"[0-9]{8}\Z")


@dataclass(frozen=True, slots=True)
class Standing:
    """One look at a chain.

    Attributes:
        chain: its directory.
        trust_root: its id, as text.
        links: how many.
        newest_us: when the newest was made (a claim of storage's clock).
        checkpoint: how many links the published checkpoint covers; None: there is none, or it cannot be read.
        service: which process serves the chain, or empty: none on this host.
        agents: their slots, on this host.
        slots: state and host of every slot, as the storage node last said; empty without one.
        waiting: records in outboxes that no agent holds; the next run takes them in.
        in_use_bytes: of outboxes that an agent holds.
        spooled: records in the spool, at most SPOOL_LIST_MAX.
        burst: records in the burst buffer of this host, likewise.
        refused: records that could not be recorded and were set aside, likewise.
        run: the newest run's id, if any.
    """

    chain: str
    trust_root: str
    links: int
    newest_us: int
    checkpoint: int | None
    service: str
    agents: list[str]
    slots: list[dict[str, object]]
    waiting: int
    in_use_bytes: int
    spooled: int
    burst: int
    refused: int
    run: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def fields(self) -> list[tuple[str, str]]:
        """(name, value) for people."""
        spool, burst, refused = (_bounded(number) for number in (self.spooled, self.burst, self.refused))
        here = f", {burst} in the burst buffer of this host" if self.burst else ""
        agents = f"{', '.join(self.agents)} on this host"
        return [
            ("trust root", self.trust_root),
            ("links", f"{self.links}, the newest of {when(self.newest_us)}"),
            ("checkpoint", "none" if self.checkpoint is None else f"covers {self.checkpoint} links"),
            ("service", self.service or "none on this host"),
            ("agents", agents if self.agents else ""),
            ("slots", _spoken(self.slots)),
            ("waiting", f"{self.waiting} records in outboxes, {spool} in the spool{here}"),
            ("set aside", f"{refused} records in refused/; run/storage.log says why" if self.refused else ""),
            ("newest run", self.run or "none yet"),
        ]

    def line(self) -> str:
        """All of it in one line, for logs."""
        spooled = self.spooled + self.burst
        counts = f"{self.links} links, {self.waiting} waiting, {spooled} spooled, {self.refused} set aside"
        return f"{counts}, {len(self.agents)} agents, {self.service or 'no service'}"


def look(chain_dir: Path, burst: Path | None = None) -> Standing:
    """Look at the chain in `chain_dir`, and into what `burst` (the setting) has of it.

    Raises:
        LedgerError: it cannot be read.
    """
    layout = ChainLayout(chain_dir)
    links, newest_us, chain, run = _read(chain_dir, _of_ledger)
    prefix = chain.hex()[:16]
    service = _service(layout)
    boxes = [item for item in leftovers.found() if item.chain == prefix and item.kind is not leftovers.Kind.TAIL]
    return Standing(
        chain=str(chain_dir),
        trust_root=digest_text(chain),
        links=links,
        newest_us=newest_us,
        checkpoint=_checkpoint(layout),
        service=service,
        agents=[box.path.name for box in boxes if box.held and box.kind is leftovers.Kind.OUTBOX],
        slots=_slots(layout) if service else [],
        waiting=sum(_waiting(box.path) for box in boxes if not box.held),
        in_use_bytes=sum(box.size_bytes for box in boxes if box.held),
        spooled=_listed(layout.spool_new.parent),
        burst=0 if burst is None else _listed_burst(burst, chain),
        refused=_listed(layout.root / "refused"),
        run=None if run is None else run.hex(),
    )


def _read(chain_dir: Path, function: Callable[[ChainView], T]) -> T:
    """Read while somebody may be writing: a view that was overtaken is opened anew."""
    for _ in range(limits.READ_ATTEMPTS_MAX - 1):
        try:
            with open_view(chain_dir) as view:
                return function(view)
        except LedgerBusy:
            continue
    with open_view(chain_dir) as view:
        return function(view)


def _of_ledger(view: ChainView) -> tuple[int, int, bytes, bytes | None]:
    run = None
    for run in view.runs():  # noqa: B007 - the last one; ids begin with the time
        pass
    return view.size, view.head().time_us, view.chain_id, run


def _checkpoint(layout: ChainLayout) -> int | None:
    try:
        return Checkpoint.parse(layout.checkpoint.read_bytes()).size
    except (OSError, DecodeError):
        return None


def _service(layout: ChainLayout) -> str:
    """Who serves the chain, if it is a living process of this host or somebody on another."""
    try:
        newest = max(path for path in layout.writers.iterdir() if _WRITER.match(path.name))
        marker = Marker.read(newest)
    except (OSError, ValueError):
        return ""  # nobody ever did
    here = Identity.own()
    if marker.state == "ended" or marker.who is None or marker.who.is_dead(here):
        return ""
    seen = (marker.who.boot, marker.who.namespace) == (here.boot, here.namespace)
    return str(marker.who) if seen else f"{marker.who}, if it still runs there"


def _slots(layout: ChainLayout) -> list[dict[str, object]]:
    try:
        with (layout.run_dir / SLOTS_FILE).open("rb") as file:
            said = json.loads(file.read(limits.CONTROL_LINE_BYTES_MAX))
        return [{"slot": int(one["slot"]), "state": str(one["state"]), "host": str(one["host"])} for one in said]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []  # it has not said anything yet


def _spoken(slots: list[dict[str, object]]) -> str:
    """Slots by state: `1-3 voting; 4 dismissed: ...`."""
    by_state: dict[str, list[int]] = {}
    for one in slots:
        by_state.setdefault(str(one["state"]), []).append(int(str(one["slot"])))
    return "; ".join(f"{_ranges(numbers)} {state}" for state, numbers in by_state.items())


def _ranges(numbers: list[int]) -> str:
    """`1-3, 5` of ascending numbers."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _waiting(directory: Path) -> int:
    try:
        return sum(1 for _ in leftovers.waiting(directory))
    except SubmissionError:
        return 0  # somebody has taken it over


def _listed(directory: Path) -> int:
    try:
        return len(list_spool(directory))
    except SubmissionError:
        return 0  # not this user's to read


def _listed_burst(base: Path, chain: bytes) -> int:
    try:
        return _listed(burst_directory(base, chain)) if is_burst(base, chain) else 0
    except SubmissionError:
        return 0  # `doctor` says why nobody reads it


def _bounded(number: int) -> str:
    return f"{number} or more" if number >= limits.SPOOL_LIST_MAX else str(number)
