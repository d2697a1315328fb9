"""What one setting may be: ``Choices`` of a list, or a ``Range`` of numbers. Knows nothing of trees, keys or trials.

Both turn a number between 0 and 1 into a value, so that whoever draws needs to know no more of them.
"""

import math
from dataclasses import dataclass
from typing import Any

DIGITS = 4  # of a drawn number: more only makes tables and names hard to read
_POINT_DIGITS = 6  # of a grid's: 0.001 instead of 0.0010000000000000002
MOST_POINTS = 10_000


@dataclass(frozen=True)
class Choices:
    """One of several values of any kind.

    >>> Choices(("SGD", "AdamW")).at(0.7)
    'AdamW'
    """

    values: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """The value at ``share`` of the way through the list, 0 <= share < 1."""
        return self.values[int(share * len(self.values))]

    def grid(self) -> list[Any]:
        """Every value."""
        return list(self.values)

    def probes(self) -> list[Any]:
        """Values that show whether all are allowed."""
        return list(self.values)

    def __contains__(self, value: Any) -> bool:
        return any(same(value, one) for one in self.values)


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included, evenly spread or evenly by their logarithm.

    Args:
        log: as many between 0.001 and 0.01 as between 0.01 and 0.1.
        step: only low, low + step, low + 2 step, ...
        whole: whole numbers only.
        points: how many of them a grid takes.

    >>> Range(1e-4, 1e-1, log=True).at(0.5), Range(16, 64, step=16).grid()
    (0.003162, [16, 32, 48, 64])
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False
    points: int | None = None

    def at(self, share: float) -> float:
        """The number at ``share`` of the way through the range, 0 <= share < 1."""
        if self.step is not None:
            return self._stepped(int(share * (self._steps() + 1)))
        if self.whole:  # each whole number has the room around it
            return min(max(round(self._between(self.low - 0.5, self.high + 0.5, share)), int(self.low)), int(self.high))
        return self.fitted(self._between(self.low, self.high, share))

    def fitted(self, value: float) -> float:
        """A number of the range as it is written down: few digits, and not beyond the ends."""
        if self.whole or self.step is not None:
            return int(value) if float(value).is_integer() and self.is_whole else value
        return min(max(_rounded(value, DIGITS), self.low), self.high)

    @property
    def is_whole(self) -> bool:
        """Whether every number of it is whole."""
        return self.whole or all(isinstance(one, int) for one in (self.low, self.step))

    def grid(self) -> list[float]:
        """The numbers that a grid takes: every one there is, or ``points`` of them; none if it cannot say which."""
        if self.step is not None:
            return [self._stepped(index) for index in range(self._steps() + 1)]
        if self.points is not None:
            numbers = [self._point(index / (self.points - 1)) for index in range(self.points)]
            return list(dict.fromkeys(numbers))
        return list(range(int(self.low), int(self.high) + 1)) if self.whole else []

    def count(self) -> int:
        """How many numbers a grid takes, without making them."""
        if self.step is not None:
            return self._steps() + 1
        return self.points or (int(self.high) - int(self.low) + 1 if self.whole else 0)

    def probes(self) -> list[float]:
        """Numbers that show whether all are allowed: the ends, and one that is whole only by chance."""
        return list(dict.fromkeys([self.low, self.at(0.618), self.grid()[-1] if self.step is not None else self.high]))

    def __contains__(self, value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high and (not self.whole or float(value).is_integer())

    def _between(self, low: float, high: float, share: float) -> float:
        if self.log:
            return low * (high / low) ** share
        return low + (high - low) * share

    def _steps(self) -> int:
        return math.floor((self.high - self.low) / (self.step or 1) + 1e-9)

    def _stepped(self, index: int) -> float:
        number = self.low + index * (self.step or 0)
        return number if isinstance(number, int) else _rounded(number, _POINT_DIGITS)

    def _point(self, share: float) -> float:
        if share in (0, 1):
            return self.high if share else self.low
        number = self._between(self.low, self.high, share)
        return round(number) if self.whole else _rounded(number, _POINT_DIGITS)


Domain = Choices | Range


def same(one: Any, other: Any) -> bool:
    """Whether two values of a configuration are the same: true is not 1, a list and a tuple may be."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def _rounded(number: float, digits: int) -> float:
    return float(f"{number:.{digits}g}")
