"""The files that say who took which writer epoch: one line of who, one that changes with every heartbeat.

    {"host": ..., "boot": ..., "namespace": ..., "pid": ..., "started": ..., "lease_s": ...}
    holding 00000000000000000042

The first line is written before the file gets its name and never changed.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, Self, TypeVar

from scichain_wf import limits

T = TypeVar("T")
State = Literal["claimed", "holding", "ended"]
"""Waiting until all before are over; writing; over."""
_STATES: Final[tuple[State, ...]] = ("claimed", "holding", "ended")
_IDENTITY: Final = {"host": str, "boot": str, "namespace": str, "pid": int, "started": int}
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, told apart from every other one of any host.

    Attributes:
        boot: id of its host's boot; with `namespace` it says where `pid` means anything.
        started: clock ticks from that boot to its start: another process may get the same pid.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: int

    @classmethod
    def own(cls) -> Self:
        """This process."""
        boot = namespace = ""
        with suppress(OSError):  # no /proc: nobody can tell from afar that this process is dead
            boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
            namespace = os.readlink(_PROC / "self/ns/pid")
        return cls(socket.gethostname(), boot, namespace, os.getpid(), _started(os.getpid()) or 0)

    def is_dead(self, here: Identity) -> bool:
        """Whether it certainly is, as seen by the process `here`."""
        return self.is_near(here) and _started(self.pid) != self.started

    def is_near(self, here: Identity) -> bool:
        """Whether its process id means the same to the process `here`."""
        return self.boot == here.boot != "" and self.namespace == here.namespace != ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _started(pid: int) -> int | None:
    """When the process started; None if there is none or it has ended."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True, slots=True)
class Marker:
    """A writer epoch's file as it was read; `who` is None if it cannot be understood."""

    number: int
    data: bytes
    who: Identity | None
    state: State
    lease_s: float

    @classmethod
    def read(cls, path: Path) -> Self:
        """The marker at `path`. One that is malformed says nothing but that its epoch is taken.

        Raises:
            OSError: it cannot be read.
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            data = os.read(descriptor, limits.WRITER_MARKER_BYTES_MAX)
        finally:
            os.close(descriptor)
        try:
            who, state, lease_s = _parsed(data)
        except (ValueError, LookupError, TypeError, RecursionError):
            who, state, lease_s = None, "claimed", limits.WRITER_LEASE_S
        return cls(int(path.name), data, who, state, lease_s)

    @property
    def is_settled(self) -> bool:
        """Whether its holder knew that everybody before it was over."""
        return self.state != "claimed"

    def __str__(self) -> str:
        return f"{self.who or 'another process'} (writer {self.number})"


def _parsed(data: bytes) -> tuple[Identity, State, float]:
    """What a marker says, within bounds; ValueError, LookupError or TypeError if it is malformed."""
    first, second = data.split(b"\n")[:2]
    value, word = json.loads(first), second.split()[0].decode()
    who = Identity(*(_typed(value[name], kind) for name, kind in _IDENTITY.items()))
    lease_s = float(_typed(value["lease_s"], float))
    if not (limits.WRITER_LEASE_S_MIN <= lease_s <= limits.WRITER_LEASE_S_MAX and who.host.isprintable()):
        raise ValueError(value)
    return who, _STATES[_STATES.index(word)], lease_s


def _typed(value: T, kind: type) -> T:
    if type(value) is not kind:
        raise TypeError(value)
    return value


def first_line(who: Identity, lease_s: float) -> bytes:
    """What a marker begins with."""
    return json.dumps(asdict(who) | {"lease_s": lease_s}).encode() + b"\n"


def second_line(state: State, beats: int) -> bytes:
    """What follows: always of the same length, so that it is written over in place."""
    return f"{state:8}{beats:020}\n".encode()
