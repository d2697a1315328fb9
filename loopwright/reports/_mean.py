"""``Mean``: several curves as one, with the band that holds them all. Knows nothing of runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ._curve import Curve


@dataclass(frozen=True)
class Mean:
    """The mean of curves at each step where all of them are, and the lowest and highest of them there."""

    steps: tuple[int, ...]
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def mean_of(curves: Sequence[Curve]) -> Mean:
    """Curves that stand at different steps are read between them by straight lines.

    >>> mean_of([Curve((1, 2, 3), (1.0, 2.0, 3.0), 3.0), Curve((1, 3), (3.0, 7.0), 7.0)])
    Mean(steps=(1, 2, 3), values=(2.0, 3.5, 5.0), low=(1.0, 2.0, 3.0), high=(3.0, 5.0, 7.0))
    """
    curves = [curve for curve in curves if curve.steps]
    if not curves:
        return Mean((), (), (), ())
    steps = _common(curves)
    rows = [curve.values if curve.steps == steps else _read(curve, steps) for curve in curves]
    at = list(zip(*rows, strict=True))
    means = tuple(math.fsum(values) / len(values) for values in at)
    return Mean(steps, means, tuple(map(min, at)), tuple(map(max, at)))


def _common(curves: Sequence[Curve]) -> tuple[int, ...]:
    """All steps of any curve within the stretch that every curve covers: a mean of those that are left would jump."""
    if all(curve.steps == curves[0].steps for curve in curves):
        return curves[0].steps
    begin, end = max(curve.steps[0] for curve in curves), min(curve.steps[-1] for curve in curves)
    return tuple(sorted({step for curve in curves for step in curve.steps if begin <= step <= end}))


def _read(curve: Curve, steps: Sequence[int]) -> list[float]:
    values, place = [], 0
    for step in steps:
        while place + 1 < len(curve.steps) and curve.steps[place + 1] <= step:
            place += 1
        if curve.steps[place] == step or place + 1 == len(curve.steps):
            values.append(curve.values[place])
            continue
        share = (step - curve.steps[place]) / (curve.steps[place + 1] - curve.steps[place])
        values.append(curve.values[place] * (1 - share) + curve.values[place + 1] * share)
    return values
