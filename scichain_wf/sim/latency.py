"""How long a message takes one way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, Self

from scichain_wf.errors import ConfigError

PRESETS: Final = {"infiniband": "fixed:2", "ethernet": "fixed:250"}
"""One-way delays in microseconds: what SciChain §5.1 compares."""
_DRAWS: Final[dict[str, tuple[int, Callable[..., float]]]] = {
    "fixed": (1, lambda _random, value: value),
    "uniform": (2, lambda random, low, high: random.uniform(low, high)),
    "exponential": (2, lambda random, least, mean: least + random.expovariate(1.0) * mean),
    "lognormal": (2, lambda random, median, sigma: median * math.exp(random.gauss(0.0, sigma))),
}
_ALLOWED: Final = (
    f"{', '.join(PRESETS)}, microseconds, or fixed:US, uniform:LOW:HIGH, exponential:LEAST:MEAN, lognormal:MEDIAN:SIGMA"
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
        try:
            parameters = tuple(float(value) for value in rest)
        except ValueError:
            parameters = ()
        wanted, _ = _DRAWS.get(name, (-1, None))
        if len(parameters) != wanted or not all(math.isfinite(value) and value >= 0 for value in parameters):
            raise ConfigError(f"latency {text!r} is not one of: {_ALLOWED}")
        return cls(name, parameters)

    @property
    def is_fixed(self) -> bool:
        """Whether every message takes the same time."""
        return self.kind == "fixed"

    def draw(self, random: Random) -> float:
        """One delay, in seconds."""
        return max(0.0, _DRAWS[self.kind][1](random, *self.parameters)) * 1e-6
