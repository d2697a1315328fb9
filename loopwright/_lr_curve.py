"""Curves of loss over learning rate: smoothed without lag, averaged, read. Pure numbers; knows nothing of models.

Source of the ramp: Smith, "Cyclical learning rates for training neural networks", WACV 2017. What is read off the curve
is our own: levels on its slopes, which the noise of single batches moves little, instead of its steepest or lowest point.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ._errors import ConfigError

FALLEN = 0.5  # of the fall: where training has begun
LOST = 0.3  # of the fall that is lost again: where rates are too high
SHARE = 3 / 4  # of the way from the one to the other, in factors
MOST_BEYOND = 4.0  # times the rate of the bottom is the edge at most: behind some bottoms the loss hardly rises
REACH = 0.24  # decades: the standard deviation of the smoothing kernel
_AROUND = 0.4  # decades on each side of the bottom that tell where it is
_DONE = 0.05  # of the fall is left where it is done
_TURNED = 0.35  # of the fall that is lost again: what comes later is not looked at
_LONG_BEFORE = 0.7  # of the steps that ramps reach, their median
_UNTOUCHED = 6.0  # times below where half of the fall is done there is next to nothing of it
_CLEAR = 4.0  # standard errors that a fall is deep at least
_STUDENT = {1: 6.31, 2: 2.92, 3: 2.35, 4: 2.13, 5: 2.02, 6: 1.94, 7: 1.89}  # 90 % within, by degrees of freedom


@dataclass(frozen=True)
class LRCurve:
    """What happened in one ramp or run: for each step the rate, the loss before the step, and a smoothed loss."""

    lr: list[float]
    loss: list[float]
    smoothed: list[float]
    stopped: str = ""  # why it ended early; nothing where it did not
    val_loss: list[float] = field(default_factory=list)  # where a validation was asked for

    @property
    def read(self) -> list[float]:
        """The losses that the suggestion is read from: those of the validation where there are any."""
        return self.val_loss or self.loss


@dataclass(frozen=True)
class Reading:
    """What averaged curves say: three rates, the suggestion that follows, and the range that it is uncertain by."""

    lr: float
    low: float
    high: float
    half: float  # where half of the fall is done
    bottom: float  # where the loss is lowest
    edge: float  # where a part of the fall is lost again, or so far beyond the bottom
    turns: bool  # whether that is before the ramps end
    levels: tuple[float, float]  # the loss before the fall, and at the bottom


def smooth(places: Sequence[float], losses: Sequence[float], reach: float = REACH) -> list[float]:
    """Losses averaged over their neighbours on both sides, so that nothing is shifted to later places; as many floats.

    Args:
        places: where the losses stand: logarithms of rates to the base 10, or numbers of steps.
        losses: of any sign; what is not finite is left out of the averages.
        reach: standard deviation of the Gaussian weights, in the unit of the places.

    >>> smooth([-2.0, -1.0, 0.0], [1.0, 1.0, 1.0])
    [1.0, 1.0, 1.0]
    """
    values = np.asarray(losses, float)
    finite = np.isfinite(values)
    if not finite.any():
        return [math.nan] * len(values)
    weights = _weights(np.asarray(places, float), reach)[:, finite]
    return (weights @ values[finite] / weights.sum(1)).tolist()


def _weights(places: np.ndarray, reach: float) -> np.ndarray:
    return np.exp(-0.5 * ((places[:, None] - places[None, :]) / reach) ** 2)


def read_ramps(curves: Sequence[LRCurve]) -> Reading:
    """The suggestion of several ramps over the same rates, from the mean of their losses.

    Its range is from leaving out each ramp in turn (the jackknife, 90 % of a Student distribution), never narrower than a
    step of the ramp and never beyond ``half`` and ``edge``, which are the range of a single ramp: it does not tell its
    own noise.

    Raises:
        ConfigError: the loss does not fall, or not clearly more than it wavers.

    >>> rates = [10 ** (k / 10 - 4) for k in range(50)]
    >>> losses = [2.0 - min(1.0, 100 * rate) + 2 * rate for rate in rates]
    >>> reading = read_ramps([LRCurve(rates, losses, losses)])
    >>> reading.half < reading.lr < reading.edge
    True
    """
    rates = list(max((curve.lr for curve in curves), key=len))
    losses = _table(_sound(curves), len(rates))
    whole = _read(rates, losses)
    step = (rates[-1] / rates[0]) ** (1 / max(1, len(rates) - 1))
    if len(losses) == 1:
        return whole
    others = [_try_read(rates, np.delete(losses, number, 0)) for number in range(len(losses))]
    logs = np.log([other.lr for other in others if other is not None])
    if len(logs) < 2:
        return whole
    count = len(logs)
    error = math.sqrt((count - 1) / count * ((logs - logs.mean()) ** 2).sum())
    factor = max(math.exp(_STUDENT.get(count - 1, 1.8) * error), step)
    return Reading(whole.lr, max(whole.half, whole.lr / factor), min(whole.lr * factor, whole.edge), *_rest(whole))


def _rest(reading: Reading) -> tuple[float, float, float, bool, tuple[float, float]]:
    return reading.half, reading.bottom, reading.edge, reading.turns, reading.levels


def _sound(curves: Sequence[LRCurve]) -> Sequence[LRCurve]:
    """Without those that met a loss that is not finite long before the others ended: that is a batch, not a rate."""
    reached = float(np.median([len(curve.read) for curve in curves]))
    sound = [c for c in curves if not _broke(c) or len(c.read) > _LONG_BEFORE * reached]
    return sound or curves


def _broke(curve: LRCurve) -> bool:
    return not math.isfinite(curve.read[-1])


def _table(curves: Sequence[LRCurve], length: int) -> np.ndarray:
    """Losses, a row a ramp; none counts as higher than the depth of its ramp's fall above where that began.

    So a divergence, however steep, neither reaches far through the smoothing kernel nor outweighs the other ramps. A ramp
    that was stopped by one stays so high.
    """
    table = np.empty((len(curves), length))
    for row, curve in zip(table, curves, strict=True):
        values = np.asarray(curve.read, float)
        finite = values[np.isfinite(values)]
        if not len(finite):
            raise ConfigError("a ramp has no finite loss")
        highest = 2 * finite[: max(1, length // 10)].mean() - finite.min()
        row[:] = highest
        row[: len(values)] = np.minimum(np.where(np.isfinite(values), values, highest), highest)
    return table


def _try_read(rates: list[float], losses: np.ndarray) -> Reading | None:
    try:
        return _read(rates, losses)
    except ConfigError:
        return None


def _read(rates: list[float], losses: np.ndarray) -> Reading:
    mean = losses.mean(0)
    smoothed = np.asarray(smooth(np.log10(rates).tolist(), mean.tolist()))
    first = max(2, len(rates) // 10)
    noise = _noise(rates, mean, smoothed, first)
    start = float(mean[:first].mean())
    bottom, half = _fallen(rates, smoothed, start, noise, first)
    before = [loss for rate, loss in zip(rates, mean, strict=True) if rate < half / _UNTOUCHED]
    if len(before) > first:  # again, from all that lies before the fall
        start = float(np.mean(before))
        bottom, half = _fallen(rates, smoothed, start, noise, first)
    lowest = float(smoothed[bottom])
    vertex = _vertex(rates, smoothed, bottom)
    crossing = _crossing(rates, smoothed, lowest + LOST * (start - lowest), bottom, 1)
    if crossing is None:  # a floor has no bottom: it begins where the fall is done
        vertex = _crossing(rates, smoothed, lowest + _DONE * (start - lowest), bottom, -1) or vertex
    turns = crossing is not None or MOST_BEYOND * vertex <= rates[-1]
    edge = min(crossing or rates[-1], MOST_BEYOND * vertex)
    lr = half ** (1 - SHARE) * edge**SHARE
    return Reading(lr, half, edge, half, vertex, edge, turns, (start, lowest))


def _vertex(rates: list[float], smoothed: np.ndarray, bottom: int) -> float:
    """The rate at the lowest point of a parabola through the curve around its bottom; the bottom's own if there is none."""
    places = np.log10(rates)
    around = np.abs(places - places[bottom]) <= _AROUND
    if around.sum() < 4:
        return rates[bottom]
    square, linear, _ = np.polyfit(places[around] - places[bottom], smoothed[around], 2)
    shift = -linear / (2 * square) if square > 0 else math.inf
    return float(rates[bottom] * 10**shift) if abs(shift) <= _AROUND else rates[bottom]


def _fallen(rates: list[float], smoothed: np.ndarray, start: float, noise: float, first: int) -> tuple[int, float]:
    """The place of the bottom, and the rate at which half of the fall is done; ``ConfigError`` where there is none."""
    bottom = _bottom(smoothed, start, noise)
    fall = start - float(smoothed[bottom])
    if bottom < first or not fall > _CLEAR * noise:
        raise ConfigError(
            f"the loss does not fall: {start:.4g} before, {smoothed[bottom]:.4g} at best, and it wavers by {noise:.2g}"
        )
    return bottom, _crossing(rates, smoothed, start - FALLEN * fall, bottom, -1) or rates[0]


def _noise(rates: list[float], mean: np.ndarray, smoothed: np.ndarray, first: int) -> float:
    """The standard error of a fall: of the smoothed curve, and of the mean of the first losses that it falls from."""
    until = int(smoothed.argmin()) + 1  # behind it there may be a divergence, which is no noise
    off = np.abs(mean - smoothed)
    # Where training has ended with nothing left to learn there is no noise either: the beginning has its own.
    spread = 1.4826 * max(float(np.median(part)) for part in (off[: max(8, len(off) // 4)], off[:until]))
    weights = _weights(np.log10(rates), REACH)
    averaged = float(np.median(weights.sum(1) ** 2 / (weights**2).sum(1)))  # losses that count in one smoothed value
    return spread * math.sqrt(1 / averaged + 1 / first)


def _bottom(smoothed: np.ndarray, start: float, noise: float) -> int:
    """Where the loss is lowest before it has clearly turned."""
    lowest = 0
    for place, value in enumerate(smoothed):
        fall = start - smoothed[lowest]
        if value < smoothed[lowest]:
            lowest = place
        elif fall > _CLEAR * noise and value - smoothed[lowest] > _TURNED * fall:
            break
    return lowest


def _crossing(rates: list[float], smoothed: np.ndarray, level: float, place: int, step: int) -> float | None:
    """The rate at which the curve passes a level on the way from a place below it; None where it does not."""
    while 0 <= place + step < len(rates):
        here, there = smoothed[place], smoothed[place + step]
        if here <= level < there:
            share = (level - here) / (there - here)
            return float(rates[place] * (rates[place + step] / rates[place]) ** share)
        place += step
    return None
