"""Short runs at several learning rates, compared step by step. Pure numbers; knows nothing of models."""

import math
from collections.abc import Sequence

import numpy as np

from ._errors import ConfigError
from ._lr_curve import LRCurve

LAST = 4  # the end of a run is its last quarter


def end_of(curve: LRCurve, steps: int) -> float:
    """The mean loss of the last quarter of a run's steps, or its last validation; NaN for a run that was stopped.

    >>> end_of(LRCurve([0.1] * 8, [8, 7, 6, 5, 4, 3, 2, 1], []), 8)
    1.5
    """
    if curve.stopped or not curve.read:
        return math.nan
    return float(np.mean(curve.read[-_last(curve, steps) :]))


def read_runs(curves: Sequence[LRCurve], steps: int) -> tuple[int, float, float]:
    """Which run ended lowest, and from which to which rate the runs were not worse than the noise of their difference.

    All runs saw the same batches, so losses are compared step by step, and what a batch is hard by cancels out.

    Raises:
        ConfigError: no run came to its end.
    """
    ends = np.array([end_of(curve, steps) for curve in curves])
    if not np.isfinite(ends).any():
        raise ConfigError("no run came to its end: " + "; ".join(sorted({curve.stopped for curve in curves})))
    best = int(np.nanargmin(ends))
    as_good = [
        curve.lr[0] for curve, end in zip(curves, ends, strict=True) if _as_good(curve, end, curves[best], steps)
    ]
    return best, min(as_good), max(as_good)


def _as_good(curve: LRCurve, end: float, best: LRCurve, steps: int) -> bool:
    if not math.isfinite(end):
        return False
    count = _last(curve, steps)
    differences = np.subtract(curve.read[-count:], best.read[-count:])
    error = float(differences.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    return float(differences.mean()) <= 2 * error


def _last(curve: LRCurve, steps: int) -> int:
    return 1 if curve.val_loss else max(1, steps // LAST)
