"""``Outcome``: one trial and what came of it, and how its metric is read. Knows nothing of how trials are run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .._errors import RunError
from .._names import did_you_mean
from .._record import METRICS, read_metrics

State = Literal["finished", "pruned", "failed", "running", "stopped", "killed", "waiting"]
ENDED = ("finished", "pruned", "failed")  # nothing more is done about these
UNFINISHED = ("stopped", "killed", "waiting")  # the same command goes on with these


@dataclass(frozen=True)
class Point:
    """One measurement of the metric: the how-manieth, at which step, and what."""

    count: int
    step: int
    value: float


@dataclass(frozen=True)
class Outcome:
    """A trial: its settings, how it ended, and what it reached.

    Attributes:
        settings: what it sets, by dotted key; empty for the defaults.
        values: what it has of the settings that are varied; of the defaults, as far as they are known.
        value: of the metric; None where there is none, as of a trial that did not end.
        at: the measurement that the value is of, counted from 1.
        curve: all measurements of the metric.
        reason: why it failed or was pruned.
    """

    id: str
    number: int
    folder: str
    state: State
    settings: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    value: float | None = None
    at: int | None = None
    curve: tuple[Point, ...] = ()
    reason: str = ""
    seconds: float | None = None
    is_default: bool = False

    @property
    def diverged(self) -> bool:
        """Whether it failed because its loss became NaN or infinite."""
        return self.state == "failed" and "NonFiniteError" in self.reason


def read_curve(folder: str | Path, metric: str) -> tuple[Point, ...]:
    """Every value of a metric in a run's record, oldest first; of a training value, those of whole epochs.

    Raises RunError where the record cannot be read.
    """
    lines = [line for line in read_metrics(folder) if isinstance(line.get(metric), int | float)]
    whole = [line for line in lines if line.get("kind") != "steps"] or lines
    return tuple(
        Point(count, int(line.get("step", count)), float(line[metric])) for count, line in enumerate(whole, start=1)
    )


def picked(curve: Sequence[Point], mode: Literal["min", "max"], pick: Literal["best", "last"]) -> Point | None:
    """The measurement that counts: the first of the best ones, or the last; None where none is a finite number."""
    finite = [point for point in curve if math.isfinite(point.value)]
    if pick == "last":
        return curve[-1] if curve and math.isfinite(curve[-1].value) else None
    sign = 1 if mode == "max" else -1
    return max(finite, key=lambda point: sign * point.value, default=None)


def why_no_value(folder: str | Path, metric: str, curve: Sequence[Point]) -> str:
    """Why a trial that ran to its end has no value of the metric."""
    if curve:
        return f"{metric} is {curve[-1].value}"
    if not (Path(folder) / METRICS).exists():
        return f"it wrote no {METRICS}: a trial logs with lw.Run(folder) in the folder that it is given as run=..."
    try:
        names = {name for line in read_metrics(folder) for name in line} - {"kind", "step", "epoch"}
    except RunError as error:
        return str(error)
    hint = did_you_mean(metric, names) or f"there are {', '.join(sorted(names))}"
    return f"{METRICS} has no {metric!r}: {hint}"
