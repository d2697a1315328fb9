"""``Curve``: one metric of one run, step by step. Knows nothing of files."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_KINDS = ("steps", "epoch", "evaluation")
_NOT_METRICS = ("kind", "step", "epoch")
_SPREAD = (".std", ".min", ".max")  # of a mean that is a metric itself
_LARGEST = 1e300  # above it a sum of a few is infinite
_LAST_STEP = 2**53  # beyond it a browser counts no more


@dataclass(frozen=True)
class Curve:
    """The finite values of one metric, and where they stand.

    Attributes:
        steps, values: of the same length, the steps rising.
        last: the value that the run ended with: that of whole epochs where there are some. None where it is not finite.
        broken_at: the first step at which the value was NaN or infinite.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]
    last: float | None
    broken_at: int | None = None

    def best(self, mode: str) -> tuple[int, float] | None:
        """The step and value of the first of the best measurements."""
        sign = 1 if mode == "max" else -1
        pairs = zip(self.steps, self.values, strict=True)
        return max(pairs, key=lambda pair: sign * pair[1], default=None)


def curves_of(lines: Iterable[Mapping[str, Any]]) -> dict[str, Curve]:
    """The curves in the lines of a metrics.jsonl. What is no number at a step is passed over.

    A name that stands in lines of several kinds is drawn from the kind that has most of it: ``train/loss`` of every 50
    steps rather than that of every epoch.
    """
    found: dict[
        str, dict[str, dict[int, float]]
    ] = {}  # kind -> name -> step -> value; the newest line of a step counts
    for line in lines:
        step, kind = line.get("step"), line.get("kind")
        if kind not in _KINDS or not isinstance(step, int) or not _is_place(step):
            continue
        rows = found.setdefault(kind, {})
        for name, value in line.items():
            if type(value) is float or (type(value) is int and name not in _NOT_METRICS):
                row = rows.get(name)
                if row is None:
                    row = rows[name] = {}
                row[step] = value if -_LARGEST < value < _LARGEST else math.nan  # JSON has numbers that no float has
    names = dict.fromkeys(name for rows in found.values() for name in rows if not name.endswith(_SPREAD))
    return {name: _curve({kind: rows[name] for kind, rows in found.items() if name in rows}) for name in names}


def _curve(kinds: Mapping[str, Mapping[int, float]]) -> Curve:
    drawn = max(kinds.values(), key=len)
    whole = next((kinds[kind] for kind in ("evaluation", "epoch") if kind in kinds), drawn)
    last = float(whole[max(whole)])
    steps = sorted(drawn)
    kept = [step for step in steps if math.isfinite(drawn[step])]
    broken = next((step for step in steps if not math.isfinite(drawn[step])), None)
    return Curve(tuple(kept), tuple(float(drawn[step]) for step in kept), last if math.isfinite(last) else None, broken)


def _is_place(step: int) -> bool:
    return not isinstance(step, bool) and 0 <= step < _LAST_STEP
