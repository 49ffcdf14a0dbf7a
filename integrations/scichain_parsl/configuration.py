"""`scichain_config`: Parsl's configuration with the parts that record."""

from __future__ import annotations

from os import PathLike
from typing import Any

from parsl.config import Config

from scichain_parsl.memoizer import Keeper, ProvenanceMemoizer
from scichain_parsl.nodes.executor import NodeExecutor
from scichain_parsl.nodes.launcher import AgentLauncher


def scichain_config(
    *,
    chain: str | PathLike[str] | None = None,
    nodes: int | None = None,
    strict: bool | None = None,
    same_code: bool = False,
    **settings: Any,
) -> Config:
    """A `parsl.Config` whose runs are recorded.

    Args:
        chain: directory of the chain; default: configured, or `.scichain` in the current directory.
        nodes: agents of the embedded service; default: configured, or one.
        strict: fail rather than run what cannot be recorded; default: configured.
        same_code: run a task again whose known result was made by other code: Parsl's memo key knows names only.
        settings: whatever `parsl.Config` takes. A `memoizer` or `retry_handler` among them stays in use.

    Returns:
        The configuration, for one `parsl.load`.

    Raises:
        TypeError, TypeCheckError: what `parsl.Config` refuses.
    """
    config = Config(**settings)  # refuses what makes no sense to Parsl
    keepers = [keeper for executor in config.executors for keeper in _keepers(executor)]
    place = str(chain) if isinstance(chain, PathLike) else chain
    memoizer = ProvenanceMemoizer(
        config.memoizer, chain=place, nodes=nodes, strict=strict, same_code=same_code, keepers=keepers
    )
    decide = config.retry_handler

    def retry_handler(error: Exception, task: Any) -> float:
        memoizer.tried(error, task)
        return 1 if decide is None else decide(error, task)

    config.memoizer, config.retry_handler = memoizer, retry_handler
    return config


def _keepers(executor: Any) -> list[Keeper]:
    """What of an executor starts agents."""
    if isinstance(executor, NodeExecutor):
        return [executor]
    provider: Any = getattr(executor, "provider", None)
    launcher = getattr(provider, "launcher", None)
    if not isinstance(launcher, AgentLauncher):
        return []
    launcher.agents = max(1, provider.init_blocks) * provider.nodes_per_block
    return [launcher]
