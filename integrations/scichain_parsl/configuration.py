"""`scichain_config`: Parsl's configuration with the parts that record."""

from __future__ import annotations

from typing import Any

from parsl.config import Config

from scichain_parsl.memoizer import Keeper, ProvenanceMemoizer
from scichain_parsl.nodes.executor import NodeExecutor
from scichain_parsl.nodes.launcher import AgentLauncher


def scichain_config(
    *, chain: str | None = None, nodes: int | None = None, strict: bool | None = None, **settings: Any
) -> Config:
    """A `parsl.Config` whose runs are recorded.

    Args:
        chain: directory of the chain; default: configured, or `.scichain` in the current directory.
        nodes: agents of the embedded service; default: configured, or one.
        strict: fail rather than run what cannot be recorded; default: configured.
        settings: whatever `parsl.Config` takes. A `memoizer` or `retry_handler` among them stays in use.

    Returns:
        The configuration, for one `parsl.load`.
    """
    keepers = [keeper for executor in settings.get("executors") or () for keeper in _keepers(executor)]
    memoizer = ProvenanceMemoizer(
        settings.pop("memoizer", None), chain=chain, nodes=nodes, strict=strict, keepers=keepers
    )
    decide = settings.pop("retry_handler", None)

    def retry_handler(error: Exception, task: Any) -> float:
        memoizer.tried(error, task)
        return 1 if decide is None else decide(error, task)

    return Config(memoizer=memoizer, retry_handler=retry_handler, **settings)


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
