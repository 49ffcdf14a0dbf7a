"""A simulated world: everything wired together, what can be done to it, and a run from its beginning to its end.

`World(config).run()` gives a `Result`. Whoever wants other agents or another storage node (liars, mutants) passes
subclasses of `AgentProcess` and `StorageProcess`; whoever wants faults schedules them with `kernel.at` before the run.
"""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

from scichain_wf.sim import observe
from scichain_wf.sim.agents import AgentProcess, decoded
from scichain_wf.sim.ground import Ground
from scichain_wf.sim.storages import StorageProcess
from scichain_wf.sim.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scichain_wf.consensus.agent import Agent
    from scichain_wf.consensus.events import Item
    from scichain_wf.sim.config import SimConfig
    from scichain_wf.sim.disk import Image
    from scichain_wf.sim.result import Result


class World(Ground):
    """Agents 1..N, storage (endpoint 0), and what surrounds them.

    Args:
        config, observers: see `Ground`.
        agent_type, agent_types: what runs in each slot; the latter for single slots.
        storage_type: what runs as storage.

    Attributes:
        agents, storage: the processes.
        workload: makes transactions.
    """

    def __init__(
        self,
        config: SimConfig,
        observers: Iterable[observe.Observer] = (),
        agent_type: type[AgentProcess] = AgentProcess,
        storage_type: type[StorageProcess] = StorageProcess,
        agent_types: Mapping[int, type[AgentProcess]] | None = None,
    ) -> None:
        super().__init__(config, observers)
        self.workload = Workload(config, self.chain_id, self.kernel.rng("workload"))
        self.storage = storage_type(self)
        types = agent_types or {}
        self.agents = {slot: types.get(slot, agent_type)(self, slot) for slot in range(1, config.nodes + 1)}
        self._started = False

    # --- running ------------------------------------------------------------------------------------
    def start(self) -> None:
        """Everybody boots, and the workload begins."""
        self._started = True
        self.tell(observe.LinkDurable(self.genesis_link, self.genesis_block, None, 0))
        self.storage.boot()
        for agent in self.agents.values():
            agent.boot()
        if self.config.rate > 0:
            self._next_task()

    def run(self) -> Result:
        """From the beginning, or from where the run is, to its end.

        Raises:
            Violation: from a checker among the observers.
        """
        if self.config.measure_memory:
            tracemalloc.start()
        try:
            if not self._started:
                self.start()
            self.kernel.run(self.config.duration_s + self.config.drain_s)
            self.tell(observe.EndOfRun())
            peak = tracemalloc.get_traced_memory()[1] if self.config.measure_memory else None
        finally:
            if self.config.measure_memory:
                tracemalloc.stop()
        return self.result(peak)

    def result(self, peak_memory_bytes: int | None = None) -> Result:
        """What the run came to so far."""
        dropped = self.tally.dropped + self.storage.core.dropped
        for agent in self.agents.values():
            if agent.alive:
                dropped.update(agent.core.dropped)
        result = self.tally.result(self.disk.history, self.disk.size, dropped)
        network, config = self.network, self.config
        result.nodes, result.seed, result.syncs = config.nodes, config.seed, self.disk.syncs
        result.messages = dict(sorted(network.messages.items()))
        result.message_bytes = dict(sorted(network.sent_bytes.items()))
        result.lost, result.peak_memory_bytes = network.lost, peak_memory_bytes
        return result

    # --- the workload -------------------------------------------------------------------------------
    def _next_task(self) -> None:
        random = self.kernel.rng("arrivals")
        wait_s = random.expovariate(self.config.rate)
        if self.now + wait_s <= self.config.duration_s:
            self.kernel.after(wait_s, self._arrive, random.randint(1, self.config.nodes))

    def _arrive(self, slot: int) -> None:
        self.submit(slot, (self.workload.task(self.now),))
        self._next_task()

    def submit(self, slot: int, items: Iterable[Item]) -> None:
        """A workflow on this node acknowledges transactions: they are in its outbox."""
        items = tuple(items)
        ids = tuple(item.id for item in items)
        self.tally.submitted(ids)
        self.tell(observe.Submitted(slot, ids))
        self.agents[slot].submit(items)

    # --- inside -------------------------------------------------------------------------------------
    def _deliver(self, frm: int, to: int, message: Any) -> None:
        if self.config.real_bytes or frm in self.liars:
            message = decoded(message)
            if message is None:
                self.tally.malformed += 1
                return
        if self.observers:
            self.tell(observe.Delivered(frm, to, message))
        self._process(to).receive(frm, message)

    def _changed(self, endpoint: int, other: int, up: bool) -> None:
        self._process(endpoint).connected(other, up)

    def _process(self, endpoint: int) -> AgentProcess | StorageProcess:
        return self.agents[endpoint] if endpoint else self.storage

    # --- what can be done to it ---------------------------------------------------------------------
    def core(self, slot: int) -> Agent:
        """The core of an agent that has booted."""
        return self.agents[slot].core

    def crash(self, endpoint: int) -> None:
        """A process ends; nothing happens where none runs."""
        process = self._process(endpoint)
        if process.alive:
            self.tally.ended(process.core.dropped)
            process.crash()
            self.tell(observe.Crashed(endpoint))

    def restart(self, endpoint: int) -> None:
        """A process starts; nothing happens where one runs."""
        process = self._process(endpoint)
        if not process.alive:
            self.tally.restarts += 1
            self.tell(observe.Restarted(endpoint))
            process.boot()

    def halt(self, slot: int, reason: str) -> None:
        """An agent's core stopped itself."""
        self.tally.halts += 1
        self.agents[slot].halted = reason
        self.tell(observe.Halted(slot, reason))
        self.crash(slot)

    def lose_node(self, slot: int) -> None:
        """A node is gone for good, with its outbox; a restart brings an empty one in its place."""
        self.crash(slot)
        self.tally.lost_nodes += 1
        self.agents[slot].lose()
        self.tell(observe.NodeLost(slot))

    def pause(self, slot: int) -> None:
        """An agent's process stands still."""
        self.agents[slot].pause()

    def resume(self, slot: int) -> None:
        """It goes on."""
        self.agents[slot].resume()

    def skew(self, slot: int, factor: float) -> None:
        """A node's clock runs `factor` times as fast."""
        self.agents[slot].skew(factor)

    def restore(self, image: Image) -> None:
        """Storage's process ends, and its disk is put back to an older image."""
        self.crash(0)
        self.disk.restore(image)
        self.tell(observe.Restored(image.size))
