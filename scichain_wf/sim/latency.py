"""How long a message takes one way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, Self

from scichain_wf.errors import ConfigError
from scichain_wf.sim import limits
from scichain_wf.sim.numbers import number, quoted

PRESETS: Final = {"infiniband": "fixed:2", "ethernet": "fixed:250"}
"""One-way delays in microseconds: what SciChain §5.1 compares."""
_DRAWS: Final[dict[str, Callable[..., float]]] = {
    "fixed": lambda _random, value: value,
    "uniform": lambda random, low, high: random.uniform(low, high),
    "exponential": lambda random, least, extra: least + random.expovariate(1.0) * extra,
    "lognormal": lambda random, median, sigma: median * math.exp(random.gauss(0.0, sigma)),
}
_NAMES: Final = {
    "fixed": "US",
    "uniform": "LOW:HIGH",
    "exponential": "LEAST:EXTRA",
    "lognormal": "MEDIAN:SIGMA",
}
_ALLOWED: Final = (
    f"{', '.join(PRESETS)}, a number of µs, or {', '.join(f'{kind}:{names}' for kind, names in _NAMES.items())}"
)


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of one-way delays; its parameters are in microseconds (`sigma` has no unit)."""

    kind: str
    parameters: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `infiniband`, `ethernet`, `250` (microseconds) or `lognormal:250:0.5`.

        Raises:
            ConfigError: it is none of these; says what is allowed.
        """
        name, *rest = PRESETS.get(text, text if ":" in text else f"fixed:{text}").split(":")
        names = _NAMES.get(name, "").split(":")
        if name not in _DRAWS or len(rest) != len(names):
            raise ConfigError(f"{quoted(text)} is none of: {_ALLOWED}")
        try:
            found = tuple(number(value, 0, _high(what)) for value, what in zip(rest, names, strict=True))
        except ConfigError as error:
            where = f"{quoted(text)}: " if ":" in text else ""
            raise ConfigError(f"{where}{error} (allowed: {_ALLOWED})") from None
        if name == "uniform" and found[0] > found[1]:
            raise ConfigError(f"{quoted(text)}: LOW is above HIGH")
        return cls(name, found)

    @property
    def is_fixed(self) -> bool:
        """Whether every message takes the same time."""
        return self.kind == "fixed"

    def draw(self, random: Random) -> float:
        """One delay, in seconds; never longer than `limits.SIM_DELAY_US_MAX`."""
        return min(_DRAWS[self.kind](random, *self.parameters), limits.SIM_DELAY_US_MAX) * 1e-6

    @property
    def long_s(self) -> float:
        """A delay that about one message in a million exceeds, in seconds."""
        first, *rest = self.parameters
        match self.kind:
            case "fixed":
                long_us = first
            case "uniform":
                long_us = rest[0]
            case "exponential":
                long_us = first + 13.8 * rest[0]
            case _:
                long_us = first * math.exp(4.75 * rest[0])
        return min(long_us, limits.SIM_DELAY_US_MAX) * 1e-6


def _high(name: str) -> float:
    return limits.SIM_SIGMA_MAX if name == "SIGMA" else limits.SIM_DELAY_US_MAX
