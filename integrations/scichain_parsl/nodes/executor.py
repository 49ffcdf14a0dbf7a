"""`NodeExecutor`: what Parsl sees. Blocks come from any provider and launcher; tasks travel through `hub`.

`submit` packs a task and leaves it; one thread of this executor alone sets futures, since what hangs on them is other
people's code. A lost node or worker fails its tasks with Parsl's own `ManagerLost` and `WorkerLost`: `retries` runs
them again.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from parsl.app.errors import RemoteExceptionWrapper
from parsl.executors.errors import BadStateException, InvalidResourceSpecification, ScalingFailed
from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost
from parsl.executors.status_handling import BlockProviderExecutor
from parsl.jobs.states import TERMINAL_STATES, JobState, JobStatus
from parsl.monitoring.radios.filesystem import FilesystemRadio
from parsl.providers import LocalProvider
from parsl.serialize import deserialize, pack_apply_message
from parsl.serialize.errors import DeserializationError, SerializationError
from parsl.utils import RepresentationMixin

from scichain_parsl.arguments import NOT_BEGUN
from scichain_parsl.nodes.hub import Hub, Node
from scichain_parsl.nodes.messages import Item, Status
from scichain_parsl.nodes.place import found, unchanged
from scichain_wf import keystore, limits
from scichain_wf.errors import ConfigError, reason_of

logger = logging.getLogger("parsl.scichain.executor")


class NodeExecutor(BlockProviderExecutor, RepresentationMixin):
    """Runs tasks on nodes that keep the run's chain: each has workers, and an agent that votes.

    Without `scichain_config` it is an executor like others, and nothing is recorded.

    Args:
        label: its name.
        provider: starts its blocks; this host by default.
        address: network interface (`ib0`) or address of this host at which nodes reach it; default: the configured
            `interface`, which is loopback if nothing is configured.
        ports: `20000-20100`: where this process and agents may listen; default: the configured `port_range`, or any.
        workers_per_node: tasks that a node runs at a time; default: the provider's `cores_per_node`, or each core.
        prefetch: tasks more than these that a node may hold: hides the way, but binds them to a node.
        agents: nodes that keep the chain; default: those of the provider's `init_blocks`. Half of all agents and one
            more certify a block, whether they run or not, so it says how many will really be there.
        tail_dir: directory of each node's own disk or memory (`/local/scratch`), in which its agent keeps a copy of the
            chain's newest blocks; default: `/dev/shm`.
        python: the interpreter on the nodes; default: this one's path.
        storage_access, working_dir: for staging, as with other executors.
        remote_monitoring_radio: how tasks report to Parsl's monitoring; default: through files.
        block_error_handler: as with other executors.
    """

    def __init__(
        self,
        label: str = "NodeExecutor",
        provider: Any = None,
        *,
        address: str | None = None,
        ports: str | None = None,
        workers_per_node: int | None = None,
        prefetch: int = 0,
        agents: int | None = None,
        tail_dir: str | None = None,
        python: str = sys.executable,
        storage_access: list[Any] | None = None,
        working_dir: str | None = None,
        remote_monitoring_radio: Any = None,
        block_error_handler: bool | Callable[..., None] = True,
    ) -> None:
        provider = provider or LocalProvider()  # type: ignore[no-untyped-call]
        super().__init__(provider=provider, block_error_handler=block_error_handler)
        self.label = label
        self.address, self.ports, self.prefetch, self.python = address, ports, prefetch, python
        self.tail_dir = None if tail_dir is None else str(Path(tail_dir).absolute())
        nodes = max(1, provider.init_blocks) * provider.nodes_per_block
        self.agents = nodes if agents is None else agents
        for name, number, least in (("workers_per_node", workers_per_node, 1), ("prefetch", prefetch, 0)):
            if number is not None and not least <= number <= limits.NODE_WORKERS_MAX:
                raise ConfigError(f"NodeExecutor: {name} is {number}, allowed are {least} to {limits.NODE_WORKERS_MAX}")
        self._workers = workers_per_node or int(getattr(provider, "cores_per_node", None) or 0)
        self.storage_access, self.working_dir = storage_access, working_dir
        self.remote_monitoring_radio = remote_monitoring_radio or FilesystemRadio()
        self.chain: Path | None = None
        self.agents_min = 0
        self._hub: Hub | None = None
        self._access = Path()
        self._connected: set[str] = set()
        self._outcomes: SimpleQueue[Item | Exception | None] = SimpleQueue()
        self._setter = threading.Thread(target=self._set_futures, name="scichain-futures", daemon=True)
        self._numbers, self._lock = 0, threading.Lock()

    # --- from scichain_config -----------------------------------------------------------------------
    def place(self) -> tuple[str, tuple[int, int]]:
        """Host and ports where others find this process.

        Raises:
            ConfigError: they make no sense here.
        """
        return found(self.address, self.ports)

    def record(self, chain: Path | None, agents_min: int = 0) -> None:
        """Its nodes keep this chain, and so many of them stay while it does; None: the run is over."""
        self.chain, self.agents_min = chain or self.chain, agents_min

    # --- Parsl's interface --------------------------------------------------------------------------
    def start(self) -> None:
        """Listen for nodes.

        Raises:
            ConfigError: not at this address, not with a run directory of this name, or not a second time.
        """
        if self.bad_state_is_set:
            raise ConfigError(f"NodeExecutor {self.label} was shut down: make a new one for each `parsl.load`")
        super().start()  # type: ignore[no-untyped-call]
        host, ports = self.place()
        chain = str(self.chain.absolute()) if self.chain is not None else None
        self._access = Path(self.run_dir).absolute() / self.label / "nodes" / "access"
        self._get_launch_command("0")  # it may be impossible
        self._hub = Hub(f"executor {self.label}", self.prefetch, chain, self._outcomes.put, self._lost)
        address = self._hub.start(host, ports)
        credentials = self._hub.credentials
        known = {"certificate": credentials.certificate, "key": credentials.key, "authority": credentials.authority}
        access = {"address": address, "ports": ports, "tail_dir": self.tail_dir, "credentials": known}
        keystore.save_secret(self._access, json.dumps(access).encode())
        self._setter.start()

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Leave a task for a node; its future.

        Raises:
            InvalidResourceSpecification: it has one; each task has one worker.
            SerializationError: it cannot be packed, or is over the limit.
        """
        if resource_specification:
            raise InvalidResourceSpecification(set(resource_specification), "NodeExecutor takes none.")
        if self.bad_state_is_set or self._hub is None:
            raise self.executor_exception or self._bad("it is not running")
        try:
            task = pack_apply_message(func, args, kwargs, buffer_threshold=limits.TASK_BYTES_MAX)
        except TypeError as error:
            raise SerializationError(func.__name__) from error
        if len(task) > limits.TASK_BYTES_MAX:
            raise SerializationError(f"{func.__name__}: {len(task)} bytes, allowed are {limits.TASK_BYTES_MAX}")
        future: Future[Any] = Future()
        with self._lock:
            self._numbers = number = self._numbers + 1
            self._tasks[number] = future
        future.parsl_executor_task_id = number  # type: ignore[attr-defined] # Parsl reads it for its log
        self._hub.put(number, task)
        return future

    def outstanding(self) -> int:
        """Tasks that are not done."""
        return len(self._tasks)

    @property
    def workers_per_node(self) -> int:
        """Tasks that a node runs at a time, as far as is known before there is one."""
        connected = max((node.workers for node in self._nodes()), default=0)
        return self._workers or connected or 1

    def scale_in(self, blocks: int) -> list[str]:
        """End this many blocks: those without nodes first, then idle ones, while enough agents stay to certify.

        Their tasks have a moment to finish, what was not begun goes to other nodes, agents get everything committed.
        """
        active = {block for block, status in self._status.items() if status.state not in TERMINAL_STATES}
        nodes = [node for node in self._nodes() if node.block in active]
        load = {block: [sum(len(node.running) for node in nodes if node.block == block),
                        sum(node.slot > 0 for node in nodes if node.block == block)] for block in active}
        agents = sum(slots for _, slots in load.values())
        chosen: list[str] = []
        for block in sorted(active, key=lambda block: (any(n.block == block for n in nodes), load[block])):
            if len(chosen) < blocks and agents - load[block][1] >= min(self.agents_min, agents):
                chosen.append(block)
                agents -= load[block][1]
        logger.info("%s Ending blocks %s", self._scale_prefix, chosen)
        if self._hub is None or self.provider is None or not chosen:
            return []
        self._hub.end(chosen, limits.TASK_DRAIN_S + limits.DRAIN_TIMEOUT_S)
        jobs = [self.blocks_to_job_id[block] for block in chosen if block in self.blocks_to_job_id]
        killed = self._filter_scale_in_ids(jobs, self.provider.cancel(jobs))
        return [self.job_ids_to_block[job] for job in killed]

    def status(self) -> dict[str, JobStatus]:
        """Of all blocks; one that ended without a node having come is missing, whatever its exit code."""
        blocks: dict[str, JobStatus] = super().status()
        self._connected.update(node.block for node in self._nodes())
        for block, status in blocks.items():
            if status.terminal and block not in self._connected and status.state != JobState.SCALED_IN:
                status.state = JobState.MISSING
                status.message = status.message or (
                    "no node of this block reached the main process; why is in what it wrote to standard error, below "
                    "submit_scripts"
                )
        return blocks

    def set_bad_state_and_fail_all(self, exception: Exception) -> None:
        """No block comes up: every task fails, those to come as well."""
        logger.error("%s cannot go on: %s", self.label, exception)
        self._executor_exception = self._bad(exception)
        self._executor_bad_state.set()
        self._outcomes.put(self._executor_exception)

    def shutdown(self) -> None:
        """End every node that is left, and fail every task that is."""
        if self._hub is not None:
            self._executor_exception = self._executor_exception or self._bad("it was shut down")
            self._executor_bad_state.set()
            self._hub.close()
            self._access.unlink(missing_ok=True)
            self._outcomes.put(self._executor_exception)
            self._outcomes.put(None)
            self._setter.join()
            self._hub = None
        super().shutdown()

    def _get_launch_command(self, block_id: str) -> str:
        if not str(block_id).isdecimal():
            raise ScalingFailed(self, f"{block_id!r} is not the number of a block")
        program = [self.python, "-P", "-m", "scichain_parsl.nodes.main"]
        return unchanged([*program, str(self._access), block_id, str(self._workers)])

    # --- what became of tasks -----------------------------------------------------------------------
    def _nodes(self) -> list[Node]:
        return list(self._hub.nodes) if self._hub is not None else []

    def _lost(self, node: Node) -> None:
        self._connected.add(node.block)
        if node.slot and self.chain is not None:
            from scichain_parsl.nodes.agent import claim_file

            claim_file(self.chain, node.slot).unlink(missing_ok=True)

    def _bad(self, why: object) -> Exception:
        error: Exception = BadStateException(self, why)  # type: ignore[no-untyped-call]
        return error

    def _set_futures(self) -> None:
        while (outcome := self._outcomes.get()) is not None:
            if isinstance(outcome, Exception):
                for number in list(self._tasks):
                    self._tasks.pop(number).set_exception(outcome)
                continue
            future = self._tasks.pop(outcome.number, None)
            if future is None:
                continue  # failed with all others
            error, result = _unpacked(outcome)
            try:
                if error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(result)
            except BaseException:
                logger.exception("What waited for task %d failed", outcome.number)


def _unpacked(item: Item) -> tuple[BaseException | None, Any]:
    """What a task raised, or its result."""
    if item.status is Status.LOST:
        text = item.data.decode(errors="replace")
        if " (block " in text:
            return ManagerLost(b"of NodeExecutor", text), None
        return WorkerLost("of NodeExecutor", text), None  # type: ignore[no-untyped-call]
    try:
        value = deserialize(item.data)
        if item.status is Status.OK:
            return None, value
        error = value.get_exception() if isinstance(value, RemoteExceptionWrapper) else None
        if not isinstance(error, Exception):
            raise TypeError(f"{type(value).__name__} is no exception")
        if item.status is Status.UNREADABLE:
            setattr(error, NOT_BEGUN, True)
    except BaseException as trouble:  # noqa: BLE001 - unpickling runs user code; the future must not hang
        return DeserializationError(f"{type(trouble).__name__}: {reason_of(trouble)}"), None
    return error, None
