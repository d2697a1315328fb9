"""``Spikes``: values that stand out from those before them. What it finds does not depend on when values are read."""

import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

WINDOW = 100  # values that are remembered
EVERY = 50  # values, after which the threshold is drawn anew
DEVIATIONS, TIMES = 10, 3  # above the median: so many deviations, and so many times the largest rise in the window


class Spike(NamedTuple):
    """A value above its threshold; those that follow it without a break below belong to it."""

    step: int
    name: str
    value: float
    median: float  # of the values before it


class Spikes:
    """Watches one name.

    A value is a spike where it is above the median of the last values by ten standard deviations, estimated by the
    median absolute deviation (1.4826 times it; Hampel, "The influence curve", 1974), and by three times as much as any
    of them.

    >>> spikes = Spikes("train/loss")
    >>> spikes.add(range(1, 102), [1.0 + 0.1 * (i % 3) for i in range(100)] + [9.0])
    [Spike(step=101, name='train/loss', value=9.0, median=1.1)]
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._window: deque[float] = deque(maxlen=WINDOW)
        self._seen = 0
        self._median = 0.0
        self._threshold = float("inf")
        self._above = False  # whether the value before was a spike

    def add(self, steps: Sequence[int], values: Sequence[float]) -> list[Spike]:
        """Take values in their order; the spikes that begin among them."""
        found = []
        for step, value in zip(steps, values, strict=True):
            if not math.isfinite(value):
                continue
            above = value > self._threshold
            if above and not self._above:
                found.append(Spike(step, self._name, value, self._median))
            self._above = above
            self._window.append(value)
            self._seen += 1
            if self._seen % EVERY == 0:
                self._draw()
        return found

    def _draw(self) -> None:
        self._median = statistics.median(self._window)
        deviation = 1.4826 * statistics.median(abs(value - self._median) for value in self._window)
        rise = max(DEVIATIONS * deviation, TIMES * (max(self._window) - self._median))
        self._threshold = self._median + rise if self._seen >= WINDOW else float("inf")

    def state_dict(self) -> dict[str, Any]:
        return {
            "window": [*self._window], "seen": self._seen, "median": self._median, "threshold": self._threshold,
            "above": self._above,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._window = deque(state["window"], maxlen=WINDOW)
        self._seen, self._median = state["seen"], state["median"]
        self._threshold, self._above = state["threshold"], state["above"]
