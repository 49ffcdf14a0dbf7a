"""What all checkers share: the premises of a run, the chain as it became durable, and how they are told.

A checker recomputes a promise from observations, with code of its own; it never asks the core for a judgement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeAlias

from scichain_wf.sim import observe
from scichain_wf.sim.reading import Fact, Json, Verify, fact
from scichain_wf.sim.violations import Violation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scichain_wf.model.link import Link

Handler: TypeAlias = Callable[[Any, float], None]


@dataclass(frozen=True, slots=True)
class Premises:
    """Under which a run's promises are to hold.

    Attributes:
        verify: checks a signature, independently of the core.
        liars: slots whose software is not the honest one, twins among them.
        honest: nobody lies, and nobody edits a file that a task made.
        live: faults end early enough, and storage may decide: everything submitted must be committed at the end.
        quorate_from: from this time on a quorum of honest validators is up with tails that cover; None: never sure.
        delta_s: a bound of the delay from storage to an undisturbed node; None: there is none.
    """

    verify: Verify
    liars: frozenset[int] = frozenset()
    honest: bool = False
    live: bool = False
    quorate_from: float | None = None
    delta_s: float | None = None


@dataclass(slots=True)
class Book:
    """The durable chain, read. `newest`: the last link told of, in its place or not; `is_old`: links went missing."""

    newest: Fact | None = None
    facts: list[Fact] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    epochs: list[Json] = field(default_factory=list)
    is_old: bool = False

    @property
    def chain(self) -> str:
        """The chain id, as records write it."""
        return "sha256:" + self.facts[0].hash.hex()

    @property
    def epoch(self) -> Json:
        """The body of the epoch in force."""
        return self.epochs[-1]

    def add(self, entry: Fact, link: Link) -> None:
        """The next link."""
        self.facts.append(entry)
        self.links.append(link)
        if entry.mode == "epoch":
            self.epochs.append(entry.records[0].body)

    def begin_again(self) -> None:
        """Storage's disk was replaced: what follows is told anew."""
        self.facts, self.links, self.epochs = [], [], []


class Checker:
    """One promise. `handlers` says which observations it takes; `Fact` stands for a durable link that follows."""

    tag: ClassVar[str]

    def __init__(self, premises: Premises, book: Book) -> None:
        self._premises = premises
        self._book = book

    def handlers(self) -> dict[type, Handler]:
        """Handler by type of observation."""
        raise NotImplementedError

    def fail(self, message: str) -> NoReturn:
        """The promise is broken.

        Raises:
            Violation: always.
        """
        raise Violation(self.tag, message)


class Checkers:
    """An observer that hands every observation to the checkers that want it.

    Raises:
        Violation: from `observe`, when a promise is broken; the run is of no use after that.
    """

    def __init__(self, premises: Premises, types: Iterable[type[Checker]]) -> None:
        self._book = Book()
        self._handlers: dict[type, list[Handler]] = {}
        for cls in types:
            for kind, handler in cls(premises, self._book).handlers().items():
                self._handlers.setdefault(kind, []).append(handler)

    def observe(self, world: observe.Clock, what: observe.Observation) -> None:
        """Check `what`."""
        now, book = world.now, self._book
        if isinstance(what, observe.LinkDurable):
            book.newest = fact(what.link, what.block.block, what.certificate)
        for handler in self._handlers.get(type(what), ()):
            handler(what, now)
        if isinstance(what, observe.Restored):
            self._restored(what.size, now)
        elif isinstance(what, observe.LinkDurable) and book.newest and book.newest.height == len(book.facts):
            self._take(book.newest, what.link, now)

    def _take(self, entry: Fact, link: Link, now: float) -> None:
        self._book.add(entry, link)
        for handler in self._handlers.get(Fact, ()):
            handler(entry, now)

    def _restored(self, size: int, now: float) -> None:
        """What the checkers know of the chain is read again, up to where the disk ends now."""
        facts, links = self._book.facts, self._book.links
        self._book.begin_again()
        self._book.is_old = self._book.is_old or size < len(facts)
        for handler in self._handlers.get(Book, ()):
            handler(self._book, now)
        for entry, link in zip(facts[:size], links, strict=False):
            self._take(entry, link, now)
