"""``Course``: a number that changes along the training: constant, between points, or by a function. Remembers nothing."""

import inspect
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

from .._errors import ConfigError

Numbers = float | Mapping[float, float] | Callable[..., float]
_KNOWN = ("epoch", "step")


class Course:
    """A pure function of (epoch, step), so that a resumed run has the right number.

    Args:
        numbers: a number; points ``{epoch: number}``, with straight lines between them and constant outside; or a
            function of ``epoch``, of ``step``, or of both, told apart by the names of its parameters.
        place: what an error calls it.

    >>> Course({0: 0.0, 10: 1.0}, "weight")(epoch=5, step=0)
    0.5
    >>> Course(lambda step: step / 100, "weight")(epoch=0, step=50)
    0.5
    """

    def __init__(self, numbers: Numbers, place: str) -> None:
        self._place, self._numbers = place, numbers
        if callable(numbers):
            self.varies, self._asks = True, _parameters(numbers, place)
        elif isinstance(numbers, Mapping):
            self._epochs, self._values = _points(numbers, place)
            self.varies = len(self._epochs) > 1
        else:
            self.varies, self._value = False, _number(numbers, place)

    def __call__(self, *, epoch: float, step: int) -> float:
        if callable(self._numbers):
            known = {"epoch": epoch, "step": step}
            return _number(self._numbers(**{name: known[name] for name in self._asks}), self._place)
        if isinstance(self._numbers, Mapping):
            return self._between(float(epoch))
        return self._value

    def _between(self, epoch: float) -> float:
        after = bisect_right(self._epochs, epoch)
        if after in (0, len(self._epochs)):
            return self._values[max(after - 1, 0)]
        (x0, x1), (y0, y1) = self._epochs[after - 1 : after + 1], self._values[after - 1 : after + 1]
        return y0 + (y1 - y0) * (epoch - x0) / (x1 - x0)


def _parameters(function: Callable[..., float], place: str) -> list[str]:
    names = list(inspect.signature(function).parameters)
    if not names or not set(names) <= set(_KNOWN):
        raise ConfigError(
            f"{place}: a function that changes with the training takes epoch, step or both, by these names. "
            f"This one takes {', '.join(names) or 'nothing'}"
        )
    return names


def _points(points: Mapping[float, float], place: str) -> tuple[list[float], list[float]]:
    if not points:
        raise ConfigError(f"{place} has no points: write {{epoch: number}}, such as {{0: 0.0, 10: 1.0}}")
    pairs = sorted((_number(epoch, f"{place}: the epoch of a point"), _number(v, place)) for epoch, v in points.items())
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise ConfigError(f"{place} must be a finite number, points {{epoch: number}}, or a function. Found: {value!r}")
    return float(value)
