"""``Scale``: how the values of a metric are written. Fractions that are customarily percentages are shown as such."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from .._progress import seconds_text

_FRACTIONS = ("accuracy", "acc", "iou", "miou", "dice", "f1", "auc", "map", "recall", "precision", "error", "err")


@dataclass(frozen=True)
class Scale:
    """How one metric is written.

    >>> Scale(is_percent=True).text(0.4127), Scale(is_percent=True).change(-0.022), Scale(False).text(1.38864)
    ('41.3 %', '−2.2 points', '1.389')
    """

    is_percent: bool = False
    digits: int = 4  # that matter

    def text(self, value: float) -> str:
        """A value with its unit."""
        return f"{_minus(f'{100 * value:.1f}')} %" if self.is_percent else plain_number(value, self.digits)

    def change(self, difference: float, *, sign: bool = True) -> str:
        """A difference of two values with its unit."""
        plus = "+" if sign and difference > 0 else ""
        if self.is_percent:
            return f"{plus}{_minus(f'{100 * difference:.1f}')} points"
        return plus + plain_number(difference, max(2, self.digits - 1))


def scale_of(metric: str | None, values: Iterable[float]) -> Scale:
    """Percent for names such as accuracy or top1 whose values are all from 0 to 1."""
    words = re.split(r"[^a-z0-9]+", (metric or "").rpartition("/")[2].lower())
    named = any(word in _FRACTIONS or re.fullmatch(r"top\d+", word) for word in words)
    return Scale(is_percent=named and all(0 <= value <= 1 for value in values))


def plain_number(value: float, digits: int = 4) -> str:
    """A number with so many digits that matter, zeros at its end included where it has a point.

    >>> plain_number(0.25), plain_number(1234.5), plain_number(-0.00001234), plain_number(2e6)
    ('0.2500', '1234', '−1.234e-05', '2e+06')
    """
    if not math.isfinite(value):
        return _minus(str(value))
    if value == 0 or 1e-3 <= abs(value) < 10 ** (digits + 1):
        whole = 0 if value == 0 else math.floor(math.log10(abs(value))) + 1
        return _minus(f"{value:.{min(max(digits - max(whole, 0), 0), 6)}f}")
    return _minus(f"{value:.{digits}g}")


def time_text(seconds: float | None) -> str:
    return "" if seconds is None else seconds_text(seconds)


def count_text(count: int, one: str, several: str = "") -> str:
    """
    >>> count_text(1, "run"), count_text(9, "run")
    ('1 run', '9 runs')
    """
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def _minus(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text
