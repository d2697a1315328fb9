"""When to stop before the end: no improvement for a while, or a goal that is reached. Watches numbers only."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Mode = Literal["min", "max"]

_LOWER_IS_BETTER = ("loss", "error", "err", "mae", "mse", "rmse", "perplexity", "nll", "lpips", "fid")
_HIGHER_IS_BETTER = (
    "accuracy",
    "acc",
    "psnr",
    "ssim",
    "iou",
    "miou",
    "dice",
    "f1",
    "auc",
    "map",
    "recall",
    "precision",
)


def direction_of(metric: str, mode: Mode | None) -> Mode:
    """Whether more or less of a metric is better: as told, else by its customary name; never guessed.

    >>> direction_of("val/top1", None), direction_of("val/charbonnier_loss", None)
    ('max', 'min')
    """
    if mode is not None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max'. Found: {mode!r}")
        return mode
    words = metric.rpartition("/")[2].lower().replace(".", "_").replace("-", "_").split("_")
    lower = any(word in _LOWER_IS_BETTER for word in words)
    higher = any(word in _HIGHER_IS_BETTER or re.fullmatch(r"top\d+", word) for word in words)
    if lower == higher:
        raise ValueError(f"is more of {metric!r} better, or less? Say mode='max' or mode='min'")
    return "min" if lower else "max"


@dataclass
class _Watched:
    best: float
    best_at: int  # which measurement
    seen: int


class Stopping:
    """Remembers the best of each watched metric and how many measurements ago that was."""

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}

    def no_better(self, metric: str, value: float, mode: Mode, patience: int) -> bool:
        """Take one measurement; True when the last ``patience`` of them brought nothing better."""
        sign = 1 if mode == "max" else -1
        watched = self._watched.setdefault(metric, _Watched(-sign * math.inf, 0, 0))
        watched.seen += 1
        if sign * value > sign * watched.best:
            watched.best, watched.best_at = value, watched.seen
        return watched.seen - watched.best_at >= patience

    def state_dict(self) -> dict[str, Any]:
        return {name: asdict(watched) for name, watched in self._watched.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._watched = {name: _Watched(**values) for name, values in state.items()}
