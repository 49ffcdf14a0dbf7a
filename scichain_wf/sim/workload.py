"""Workflows from a seed: tasks that read what earlier tasks made, on any node, and submit real transactions."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from scichain_wf.consensus.events import Item
from scichain_wf.crypto.hashing import sha256
from scichain_wf.crypto.merkle import leaf_hash
from scichain_wf.model import facts
from scichain_wf.model.bodies import Kind
from scichain_wf.model.text import digest_text
from scichain_wf.model.transaction import RunId, Transaction, make_key
from scichain_wf.model.uri import work_uri

if TYPE_CHECKING:
    from random import Random

    from scichain_wf.model.canonical import JsonObject, JsonValue
    from scichain_wf.sim.config import SimConfig

START_US: Final = 1_750_000_000_000_000
"""Wall clock at virtual time 0."""
_ROOT: Final = "00112233445566aa"
_RECENT: Final = 64
"""Tasks read outputs of so many earlier ones."""
_SOURCES: Final = 16


class Workload:
    """Makes tasks. Who reads the output of another task names it as the origin, as both engines do."""

    def __init__(self, config: SimConfig, chain: bytes, random: Random) -> None:
        self._config, self._chain, self._random = config, chain, random
        self._run = RunId(make_key(START_US // 1_000, random.randbytes(10)))
        self._recent: deque[tuple[str, str, str]] = deque(maxlen=_RECENT)  # (URI, digest, origin)
        self._versions = [0] * _SOURCES
        self._made: deque[Item] = deque(maxlen=_RECENT)
        self._count = 0

    def task(self, now: float) -> Item:
        """The next task's transaction, or an earlier one's once more."""
        if self._made and self._random.random() < self._config.again:
            return self._random.choice(self._made)
        item = self.item([*self._inputs()], now, outputs=self._random.choice((0, 1, 1, 2)))
        self._made.append(item)
        return item

    def item(self, inputs: list[JsonValue], now: float, outputs: int = 1) -> Item:
        """A task with these inputs that makes so many files of its own."""
        self._count += 1
        name, time_us = f"task{self._count}", START_US + int(now * 1e6)
        key = make_key(time_us // 1_000, self._random.randbytes(10))
        made = [(work_uri(_ROOT, f"{name}/out{i}".encode()), self._digest(f"{name} {i}")) for i in range(outputs)]
        body: JsonObject = {
            "engine": {"name": "simulated", "version": "1"},
            "name": "task",
            "task": name,
            "attempt": 1,
            "inputs": inputs,
            "outputs": [{"uri": uri, "role": "file", "state": "file", "digest": digest} for uri, digest in made],
            "node": "simulated",
            "user": "nobody",
            "started_us": time_us,
            "ended_us": time_us,
            "status": "ok",
        }
        data = Transaction(self._chain, key, Kind.TASK, self._run, "simulated", time_us, body).encode()
        self._recent.extend((uri, digest, f"task:{name}") for uri, digest in made)
        return item_of(data)

    def _inputs(self) -> list[JsonObject]:
        config, random = self._config, self._random
        inputs: list[JsonObject] = []
        count = min(len(self._recent), random.randint(0, config.fan_in))
        for uri, digest, origin in random.sample(self._recent, count):
            read = self._digest(f"tampered {uri}") if random.random() < config.tampered else digest
            inputs.append({"uri": uri, "role": "file", "state": "file", "digest": read, "origin": origin})
        if random.random() < config.sources:
            number = random.randrange(_SOURCES)
            self._versions[number] += random.random() < config.edited
            digest = self._digest(f"source {number} {self._versions[number]}")
            uri = work_uri(_ROOT, f"source{number}".encode())
            inputs.append({"uri": uri, "role": "file", "state": "file", "digest": digest, "origin": "source"})
        if random.random() < config.unresolved:
            uri = work_uri(_ROOT, f"lost{self._count}".encode())
            inputs.append(
                {"uri": uri, "role": "file", "state": "file", "digest": self._digest(uri), "unresolved": True}
            )
        return inputs

    @staticmethod
    def _digest(content: str) -> str:
        return digest_text(sha256(content.encode()))


def item_of(data: bytes) -> Item:
    """A transaction's bytes as an agent takes them in."""
    return Item(leaf_hash(data), data, facts.read(data))
