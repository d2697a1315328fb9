"""Round numbers for an axis. Pure functions."""

import math


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, steps of 1, 2 or 5 times a power of ten.

    >>> ticks(0, 96), ticks(0.11, 0.42)
    ([0.0, 20.0, 40.0, 60.0, 80.0], [0.2, 0.3, 0.4])
    """
    if not low < high:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / about))
    step = next((power * times for times in (1, 2, 5, 10) if (high - low) / (power * times) <= about), power * 10)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, min(last, first + 50) + 1)]
