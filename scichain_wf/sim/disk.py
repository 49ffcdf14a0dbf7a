"""Storage's disk: what was appended is gone in a crash until it was synced, and old images can be put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scichain_wf.sim.ledgers import ChainView, Histories, History

if TYPE_CHECKING:
    from collections.abc import Callable

    from scichain_wf.sim.kernel import Handle, Kernel


@dataclass(frozen=True, slots=True)
class Image:
    """A copy of the disk: the first `size` links of a history."""

    history: History
    size: int


class Disk:
    """One writer, one transaction at a time.

    Attributes:
        sync_s: how long the next sync takes; faults change it.
        syncs: how many were finished.
    """

    def __init__(self, kernel: Kernel, histories: Histories, sync_s: float) -> None:
        self._kernel, self._histories = kernel, histories
        self._image = Image(histories.all[0], 0)
        self._syncing: Handle | None = None
        self.sync_s = sync_s
        self.syncs = 0

    @property
    def size(self) -> int:
        """How many links are durable."""
        return self._image.size

    @property
    def history(self) -> History:
        """Which links those are: the first `size` of it."""
        return self._image.history

    def begin(self) -> ChainView:
        """A transaction on top of what is durable."""
        return ChainView(self._image.history, self._image.size)

    def sync(self, view: ChainView, done: Callable[[], object], judging_s: float = 0.0) -> None:
        """Make what `view` appended durable, and then call `done`; deciding on it took `judging_s`."""
        self._syncing = self._kernel.after(judging_s + self.sync_s, self._synced, view, done)

    def _synced(self, view: ChainView, done: Callable[[], object]) -> None:
        self._syncing = None
        self.syncs += 1
        history = self._image.history
        for link, block, certificate in view.added:
            history = self._histories.extended(history, link, block, certificate)
        self._image = Image(history, view.size)
        done()

    def crash(self) -> None:
        """The process is gone, and with it whatever was not synced."""
        if self._syncing is not None:
            self._syncing.cancel()
            self._syncing = None

    def keep_image(self) -> Image:
        """A copy of what is durable now."""
        return self._image

    def restore(self, image: Image) -> None:
        """Put a copy back; to be called while no process uses the disk."""
        self.crash()
        self._image = image
