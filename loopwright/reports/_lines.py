"""``Line``: what is drawn of one group for one metric. Knows nothing of how it is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

from ._curve import Curve
from ._group import Group
from ._mean import Mean, mean_of
from ._one_run import OneRun
from ._thin import averaged, thin


@dataclass(frozen=True)
class Line:
    """The mean of a group's runs that count, and every run by itself.

    Attributes:
        place: of the group in the ranking; it decides the colour.
        mean: of the runs that count, thinned; while none has ended, of those that are there.
        smooth: steps and means of stretches, where the mean was thinned; for smoothing.
        is_final: whether the mean is of runs that count.
        runs: every run with this metric, thinned, and whether it is in the mean.
    """

    place: int
    group: Group
    mean: Mean
    smooth: tuple[list[int], list[float]] | None
    is_final: bool
    runs: tuple[tuple[OneRun, Curve, bool], ...]


def lines_of(groups: Sequence[Group], metric: str, most: int, each: int | None = None) -> list[Line]:
    """A line for each group that has the metric, of about ``most`` points; its runs have ``each``, by default as many."""
    lines = (_line(place, group, metric, most, each or most) for place, group in enumerate(groups))
    return [line for line in lines if line.runs]


def _line(place: int, group: Group, metric: str, most: int, each: int) -> Line:
    drawn = [(one, one.curves[metric]) for one in group.runs if metric in one.curves and one.curves[metric].steps]
    names = {one.name for one in group.counted}
    is_final = any(one.name in names for one, _ in drawn)
    going = [one.name for one, _ in drawn if one.state not in ("failed", "killed", "unreadable", "pruned")]
    meant = names if is_final else set(going) or {one.name for one, _ in drawn}
    mean = mean_of([curve for one, curve in drawn if one.name in meant])
    smooth = averaged(mean.steps, mean.values, most // 2) if len(mean.steps) > most else None
    runs = tuple((one, thin_curve(curve, each), one.name in meant) for one, curve in drawn)
    return Line(place, group, _thin_mean(mean, most), smooth, is_final, runs)


def thin_curve(curve: Curve, most: int) -> Curve:
    """The same curve with fewer points."""
    if len(curve.steps) <= most:
        return curve
    kept = thin([curve.values], most)
    return Curve(_at(curve.steps, kept), _at(curve.values, kept), curve.last, curve.broken_at)


def _thin_mean(mean: Mean, most: int) -> Mean:
    if len(mean.steps) <= most:
        return mean
    rows = [mean.values] if mean.low == mean.high else [mean.values, mean.low, mean.high]
    kept = thin(rows, most)
    return Mean(_at(mean.steps, kept), _at(mean.values, kept), _at(mean.low, kept), _at(mean.high, kept))


def _at(row: tuple, kept: Sequence[int]) -> tuple:
    return tuple(row[place] for place in kept)
