"""``ramp``: the learning rates to try, one after the other. Plain numbers; knows nothing of models or losses."""

import math
from collections.abc import Sequence
from typing import Literal

from ._errors import ConfigError

Spacing = Literal["exponential", "linear"]
SPACINGS: tuple[Spacing, ...] = ("exponential", "linear")


def ramp(low: float, high: float, count: int, spacing: Spacing = "exponential") -> list[float]:
    """``count`` rates from ``low`` to ``high``, both included: by equal factors, or by equal differences.

    >>> ramp(0.001, 0.1, 3), ramp(1.0, 2.0, 3, "linear")
    ([0.001, 0.01, 0.1], [1.0, 1.5, 2.0])
    """
    if not (math.isfinite(low) and math.isfinite(high) and 0 < low < high):
        raise ConfigError(f"low must be above 0, and high above low. Found: low={low}, high={high}")
    if count < 2:
        raise ConfigError(f"a ramp has 2 rates or more. Found: {count}")
    if spacing not in SPACINGS:
        raise ConfigError(f"spacing must be one of {', '.join(map(repr, SPACINGS))}. Found: {spacing!r}")
    shares = [number / (count - 1) for number in range(count)]
    if spacing == "linear":
        return [*(low + (high - low) * share for share in shares[:-1]), high]
    return [*(low * (high / low) ** share for share in shares[:-1]), high]


def chosen_rates(rates: int | Sequence[float], low: float, high: float, spacing: Spacing) -> list[float]:
    """The rates that are listed, or so many from ``low`` to ``high``.

    >>> chosen_rates([0.3, 0.1], 1e-4, 1.0, "exponential")
    [0.3, 0.1]
    """
    if isinstance(rates, int):
        return ramp(low, high, rates, spacing)
    listed = [float(rate) for rate in rates]
    if not listed or any(not math.isfinite(rate) or rate <= 0 for rate in listed):
        raise ConfigError(f"rates must be numbers above 0, one or more. Found: {rates!r}")
    return listed
