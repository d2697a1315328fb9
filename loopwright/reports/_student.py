"""Student's t: intervals of means and of differences, from nothing but numbers. No dependency."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

_MOST_TERMS = 10_000


@dataclass(frozen=True)
class Interval:
    """A value and how far it may be off. ``low`` and ``high`` are None where one value says nothing of its spread."""

    value: float
    low: float | None
    high: float | None


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean and its interval by Student's t with n - 1 degrees of freedom.

    >>> found = mean_interval([1.0, 2.0, 3.0])
    >>> round(found.low, 3), found.value, round(found.high, 3)
    (-0.484, 2.0, 4.484)
    """
    mean, variance = _moments(values)
    if variance is None:
        return Interval(mean, None, None)
    reach = t_quantile(0.5 + level / 2, len(values) - 1) * math.sqrt(variance / len(values))
    return Interval(mean, mean - reach, mean + reach)


def welch_interval(one: Sequence[float], other: Sequence[float], level: float = 0.95) -> Interval:
    """The difference of two means, ``one - other``, and its interval: variances need not be equal (Welch, Biometrika 1947).

    There is no interval where a sample has fewer than two values, or where neither has any spread.

    >>> found = welch_interval([3.0, 4.0, 5.0], [1.0, 1.5, 2.0])
    >>> round(found.low, 3), found.value, round(found.high, 3)
    (0.422, 2.5, 4.578)
    """
    (mean_one, var_one), (mean_other, var_other) = _moments(one), _moments(other)
    difference = mean_one - mean_other
    if var_one is None or var_other is None:
        return Interval(difference, None, None)
    a, b = var_one / len(one), var_other / len(other)
    if a + b == 0 or not math.isfinite(a + b):
        return Interval(difference, None, None)
    share = a / (a + b)  # shares, since squares of small variances vanish
    freedom = 1 / (share**2 / (len(one) - 1) + (1 - share) ** 2 / (len(other) - 1))
    reach = t_quantile(0.5 + level / 2, freedom) * math.sqrt(a + b)
    return Interval(difference, difference - reach, difference + reach)


@functools.cache
def t_quantile(p: float, freedom: float) -> float:
    """The value that Student's t stays below with probability ``p``, 0.5 to 1, by bisection to the last bit.

    >>> round(t_quantile(0.975, 2), 4)
    4.3027
    """
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < p and high < 1e300:
        low, high = high, high * 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if t_probability(middle, freedom) < p else (low, middle)
    return high


def t_probability(t: float, freedom: float) -> float:
    """The probability that Student's t with so many degrees of freedom is at most ``t`` (0 or more).

    By the regularised incomplete beta function: DLMF 8.17, https://dlmf.nist.gov/8.17.
    """
    square = t * t
    return 1 - _beta(freedom / 2, 0.5, freedom / (freedom + square)) / 2


def _beta(a: float, b: float, x: float) -> float:
    """I_x(a, b)."""
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly the other tail's converges fast
        return 1 - _beta(b, a, 1 - x)
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log) / (a * _fraction(a, b, x))


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of DLMF 8.17.22, term by term until nothing changes (Lentz, Applied Optics 1976)."""
    value = up = 1.0
    down = 0.0
    for m in range(1, _MOST_TERMS):
        half = m // 2
        if m % 2:
            d = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            d = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        down = 1 / (1 + d * down)
        up = 1 + d / up
        value *= up * down
        if abs(up * down - 1) < 1e-16:
            break
    return value


def _moments(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and variance (n - 1); None for the variance of a single value."""
    count = len(values)
    mean = math.fsum(values) / count
    return mean, math.fsum((value - mean) ** 2 for value in values) / (count - 1) if count > 1 else None
