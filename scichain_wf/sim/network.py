"""The network of a simulated world: channels between endpoints that delay, lose, repeat and reorder, and break.

Endpoints are slots; 0 is storage. A channel is TCP's: what it delivers keeps its order (unless `reorder` is set), and
when it breaks, what was in flight is lost and both ends are told, `detect_s` later; when its ends can reach each other
again, there is a new one `reconnect_s` later. A message that is lost on the way to or from storage breaks the channel.

Agents keep a channel to storage and, in a mesh, to every peer. Beyond (`SimConfig.is_mesh`), a channel to a peer is
made when something is sent; only what is known to be broken is remembered.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from scichain_wf.sim.sizes import size_bytes

if TYPE_CHECKING:
    from scichain_wf.sim.kernel import Kernel
    from scichain_wf.sim.latency import Latency

Pair: TypeAlias = tuple[int, int]
_FORMER: float = -1.0


@dataclass(slots=True)
class _Channel:
    """What is known of a pair. `broke`: stamp of the last break; `told`: whether the ends know of it."""

    up: bool
    broke: int = 0
    told: bool = True


class Network:
    """Delivers messages.

    Args:
        kernel: time and randomness.
        latency: see `Latency`.
        detect_s, reconnect_s: see above.
        is_mesh: whether peers keep channels.
        deliver: called with (from, to, message).
        changed: called with (endpoint, other, up) at a living endpoint.

    Attributes:
        loss, duplicate, reorder: probabilities for each message.
        messages, sent_bytes: how many were sent, and their bytes, by kind.
        lost: how many did not arrive.
    """

    def __init__(
        self,
        kernel: Kernel,
        latency: Latency,
        detect_s: float,
        reconnect_s: float,
        is_mesh: bool,
        deliver: Callable[[int, int, Any], object],
        changed: Callable[[int, int, bool], object],
    ) -> None:
        self._kernel, self._latency, self._is_mesh = kernel, latency, is_mesh
        self._detect_s, self._reconnect_s = detect_s, reconnect_s
        self._deliver, self._changed = deliver, changed
        self._delays, self._dice = kernel.rng("latency"), kernel.rng("network")
        self._living: dict[int, None] = {}
        self._died: dict[int, int] = {}
        self._channels: dict[Pair, _Channel] = {}
        self._down: dict[int, dict[int, None]] = {}  # endpoint → others to whom its channel is not up
        self._cuts: Counter[Pair] = Counter()
        self._partitions: list[frozenset[int]] = []
        self._last: dict[Pair, float] = {}
        self._stamp = 0
        self._version = 0
        self.loss = self.duplicate = self.reorder = 0.0
        self.messages: Counter[str] = Counter()
        self.sent_bytes: Counter[str] = Counter()
        self.lost = 0

    # --- endpoints ----------------------------------------------------------------------------------
    def boot(self, endpoint: int) -> None:
        """A process begins: it connects to whom it keeps channels with, and others to it."""
        self._living[endpoint] = None
        for other in self._kept(endpoint):
            if not self._channels.setdefault(_pair(endpoint, other), _Channel(up=False)).up:
                self._mark(endpoint, other)
        wait_s = self._reconnect_s if endpoint in self._died else self._latency.draw(self._delays)
        for other in self._down.get(endpoint, ()):
            self._kernel.after(wait_s, self._connect, _pair(endpoint, other))

    def crash(self, endpoint: int) -> None:
        """A process ends: its channels break."""
        self._living.pop(endpoint, None)
        self._stamp += 1
        self._died[endpoint] = self._version = self._stamp
        for other in self._kept(endpoint):
            self.break_channel(endpoint, other)

    def is_up(self, endpoint: int, other: int) -> bool:
        """Whether `endpoint` has a channel to `other`, as far as it can know."""
        return other not in self._down.get(endpoint, ())

    def connected(self, endpoint: int, others: list[int]) -> list[int]:
        """Those of `others` to which `endpoint` has a channel, as far as it can know."""
        down = self._down.get(endpoint)
        return [other for other in others if other not in down] if down else others

    def _kept(self, endpoint: int) -> list[int]:
        """Living endpoints that this one keeps a channel with."""
        if endpoint and not self._is_mesh:
            return [0] if 0 in self._living else []
        return [other for other in self._living if other != endpoint]

    # --- faults -------------------------------------------------------------------------------------
    def cut(self, frm: int, to: int) -> None:
        """Nothing that is sent from `frm` reaches `to` any more; the other way it does until the ends notice."""
        self._cuts[frm, to] += 1
        self._kernel.after(self._detect_s, self.break_channel, frm, to, True)

    def uncut(self, frm: int, to: int) -> None:
        """End one `cut`."""
        self._cuts[frm, to] -= 1
        self._mended()

    def partition(self, group: Collection[int]) -> None:
        """The endpoints of `group` reach only each other, and the others only each other."""
        inside = frozenset(group)
        self._partitions.append(inside)
        for pair in list(self._channels):
            if (pair[0] in inside) != (pair[1] in inside):
                self._kernel.after(self._detect_s, self.break_channel, *pair, True)

    def unpartition(self, group: Collection[int]) -> None:
        """End one `partition`."""
        self._partitions.remove(frozenset(group))
        self._mended()

    def heal(self) -> None:
        """End everything that keeps messages back; what is broken comes up again."""
        self._cuts.clear()
        self._partitions.clear()
        self.loss = self.duplicate = self.reorder = 0.0
        self._mended()

    def reaches(self, frm: int, to: int) -> bool:
        """Whether a message from `frm` gets to `to` now, if both live."""
        if self._cuts and self._cuts[frm, to] > 0:
            return False
        return all((frm in group) == (to in group) for group in self._partitions)

    def break_channel(self, one: int, other: int, told: bool = False) -> None:
        """The channel breaks; `told`: its ends notice at once."""
        pair = _pair(one, other)
        channel = self._channels.get(pair)
        if channel is None:
            channel = self._channels[pair] = _Channel(up=True)
        if not channel.up:
            return
        self._stamp += 1
        channel.up, channel.told, channel.broke = False, False, self._stamp
        self._mark(one, other)
        self._version = self._stamp
        self._kernel.after(0.0 if told else self._detect_s, self._tell, pair)

    def _tell(self, pair: Pair) -> None:
        self._channels[pair].told = True
        for endpoint, other in (pair, pair[::-1]):
            if endpoint in self._living:
                self._changed(endpoint, other, False)
        self._kernel.after(self._reconnect_s, self._connect, pair)

    def _connect(self, pair: Pair) -> None:
        channel, (one, other) = self._channels[pair], pair
        if channel.up or not channel.told or one not in self._living or other not in self._living:
            return
        if not (self.reaches(one, other) and self.reaches(other, one)):
            return
        channel.up = True
        del self._down[one][other], self._down[other][one]
        for endpoint, peer in (pair, pair[::-1]):
            if channel.up and endpoint in self._living:
                self._changed(endpoint, peer, True)

    def _mark(self, one: int, other: int) -> None:
        self._down.setdefault(one, {})[other] = None
        self._down.setdefault(other, {})[one] = None

    def _mended(self) -> None:
        for one, others in self._down.items():
            for other in others:
                if one < other:
                    self._kernel.after(self._reconnect_s, self._connect, (one, other))

    # --- messages -----------------------------------------------------------------------------------
    def send(self, frm: int, to: Sequence[int], message: object) -> None:
        """One message, to one or many; `frm` has a channel to each, as far as it knows."""
        kind = type(message).__name__
        self.messages[kind] += len(to)
        self.sent_bytes[kind] += len(to) * size_bytes(message)
        self._stamp += 1
        clean = not (self._cuts or self._partitions or self.loss or self.duplicate or self.reorder)
        if clean and self._latency.is_fixed:
            # By far the most messages: one entry of the heap, however many they go to.
            due = self._kernel.now + self._latency.draw(self._delays)
            self._kernel.at(due, self._arrive_all, frm, tuple(to), message, self._stamp, self._version)
        elif clean:
            self._fly(sorted((self._due(frm, one), one) for one in to), 0, frm, message, self._stamp)
        else:
            for one in to:
                self._risk(frm, one, message)

    def _risk(self, frm: int, to: int, message: object) -> None:
        """Send while the network is at fault."""
        reaches = self.reaches(frm, to)
        if not reaches or (self.loss and self._dice.random() < self.loss):
            self.lost += 1
            if not (frm and to) or not (reaches or self._is_mesh):
                self.break_channel(frm, to)
            return
        late = self.reorder and self._dice.random() < self.reorder
        copies = 2 if self.duplicate and self._dice.random() < self.duplicate else 1
        for copy in range(copies):
            extra = self._dice.random() * 20 * self._latency.draw(self._delays) if late or copy else 0.0
            due = self._kernel.now + self._latency.draw(self._delays) + extra if extra else self._due(frm, to)
            self._kernel.at(due, self._arrive, frm, to, message, self._stamp)

    def _due(self, frm: int, to: int) -> float:
        """When a message arrives that keeps its place behind those before it."""
        due = self._kernel.now + self._latency.draw(self._delays)
        if due <= self._last.get((frm, to), _FORMER):
            due = math.nextafter(self._last[frm, to], math.inf)
        self._last[frm, to] = due
        return due

    def _fly(self, arrivals: list[tuple[float, int]], index: int, frm: int, message: object, stamp: int) -> None:
        """Wait for the next arrival of a message that goes to many at different times."""
        self._kernel.at(arrivals[index][0], self._land, arrivals, index, frm, message, stamp)

    def _land(self, arrivals: list[tuple[float, int]], index: int, frm: int, message: object, stamp: int) -> None:
        if index + 1 < len(arrivals):
            self._fly(arrivals, index + 1, frm, message, stamp)
        self._arrive(frm, arrivals[index][1], message, stamp)

    def _arrive_all(self, frm: int, to: Iterable[int], message: object, stamp: int, version: int) -> None:
        self._kernel.events -= 1
        for one in to:
            self._kernel.events += 1
            if version == self._version and one in self._living:
                self._deliver(frm, one, message)
            else:
                self._arrive(frm, one, message, stamp)

    def _arrive(self, frm: int, to: int, message: object, stamp: int) -> None:
        channel = self._channels.get(_pair(frm, to))
        broke = channel.broke if channel is not None else 0
        if to not in self._living or self._died.get(to, 0) > stamp or broke > stamp:
            self.lost += 1
            if frm and to and not self._is_mesh and to not in self._living:
                self.break_channel(frm, to)  # nobody answers
            return
        self._deliver(frm, to, message)


def _pair(one: int, other: int) -> Pair:
    return (one, other) if one < other else (other, one)
