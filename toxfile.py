"""Lets several tox environments share one directory (tox.ini: `runner = shared`).

tox 4 writes an environment's name into its directory and rebuilds it whenever another name comes along. Our parts
differ only in their commands, so the name is left out of that comparison; Python version, dependencies and extras are
still compared. Should a later tox stop asking this class, parts get slower and stay right.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tox.plugin import impl
from tox.tox_env.api import ToxEnv
from tox.tox_env.info import Info
from tox.tox_env.python.virtual_env.runner import VirtualEnvRunner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tox.tox_env.register import ToxEnvRegister


class SharedInfo(Info):
    """The record of what a directory was made for, without the name of the environment."""

    @contextmanager
    def compare(self, value: Any, section: str, sub_section: str | None = None) -> Iterator[tuple[bool, Any]]:
        """Compare and update as tox does, under one name for all."""
        if section == ToxEnv.__name__ and isinstance(value, dict):
            value = {**value, "name": "shared"}
        with super().compare(value, section, sub_section) as result:
            yield result


class SharedRunner(VirtualEnvRunner):
    """A virtualenv whose directory other environments with the same contents may use."""

    @staticmethod
    def id() -> str:
        """Name in tox.ini."""
        return "shared"

    @property
    def cache(self) -> Info:
        """What the directory was made for."""
        return SharedInfo(self.env_dir)


@impl
def tox_register_tox_env(register: ToxEnvRegister) -> None:
    """Offer the runner to tox.ini."""
    register.add_run_env(SharedRunner)
