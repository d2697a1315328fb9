"""``FoundLR``: a learning rate that was found, why, and the curves that say so. Knows nothing of how they were made."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ._errors import ConfigError
from ._files import make_folder, write_json
from ._lr_curve import FALLEN, LOST, MOST_BEYOND, LRCurve, read_ramps, smooth
from ._lr_plot import plot_ramps, plot_runs
from ._lr_runs import end_of, read_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Mode = Literal["ramp", "runs"]
_ROWS = 24  # of a ramp's table


@dataclass(frozen=True)
class FoundLR:
    """What ``find_lr`` gives back.

    ``lr`` is for the optimizer that was tried: the peak of one cycle, or the rate that a schedule begins from. ``low`` to
    ``high`` is how uncertain it is.
    """

    lr: float  # of the group with the largest one, two digits
    low: float
    high: float
    reason: str
    mode: Mode
    lrs: list[float]  # of each group of the optimizer, in their proportions
    curves: list[LRCurve] = field(repr=False)  # one a ramp, or one a run
    steps: int  # of the optimizer's, all trials together

    def __str__(self) -> str:
        return f"learning rate {self.lr:.2g} ({self.low:.2g} .. {self.high:.2g}): {self.reason}"

    def table(self) -> str:
        """The curves as text: of ramps their mean at some rates, of runs each with its end."""
        if self.mode == "runs":
            lines = [
                [f"{curve.lr[0]:.4g}", f"{curve.loss[0]:.4f}", f"{end:.4f}", self._note(curve)]
                for curve, end in zip(self.curves, self._ends(), strict=True)
            ]
            return _text([["lr", "loss before", "loss at the end", ""], *lines])
        rates, means = self.mean_curve()
        every = max(1, -(-len(rates) // _ROWS))
        lines = [[f"{rate:.3g}", f"{mean:.4f}"] for rate, mean in list(zip(rates, means, strict=True))[::every]]
        return _text([["lr", "mean loss, smoothed"], *lines])

    def mean_curve(self) -> tuple[list[float], list[float]]:
        """The rates of the ramps, and the mean of the ramps' losses, smoothed: each as far as all ramps got."""
        length = min(len(curve.read) for curve in self.curves)
        rates = self.curves[0].lr[:length]
        losses = np.array([curve.read[:length] for curve in self.curves], float)
        return rates, smooth(np.log10(rates).tolist(), losses.mean(0).tolist())

    def write_json(self, path: str | Path) -> Path:
        """Write all that is known, curves included, as a JSON file, whole or not at all."""
        path = Path(path)
        make_folder(path.parent)
        write_json(path, asdict(self), sync=False)
        return path

    def figure(self) -> "Figure":
        """The curves as a matplotlib ``Figure``; ``MissingExtra`` where matplotlib is not installed."""
        title = f"{self.mode}: {self.lr:.2g}"
        if self.mode == "runs":
            return plot_runs(self.curves, self._ends(), self.lr, self.low, self.high, title)
        return plot_ramps(self.curves, self.mean_curve(), self.lr, self.low, self.high, title)

    def save(self, path: str | Path) -> Path:
        """Write the figure as a file, PNG or what else the name's ending says; ``MissingExtra`` without matplotlib."""
        path, figure = Path(path), self.figure()
        make_folder(path.parent)
        figure.savefig(path, dpi=120)
        return path

    def _ends(self) -> list[float]:
        return [end_of(curve, max(len(c.loss) for c in self.curves)) for curve in self.curves]

    def _note(self, curve: LRCurve) -> str:
        return curve.stopped or ("<- lowest" if curve.lr[0] == self.lr else "")


def judge_ramps(curves: list[LRCurve], groups: Sequence[float], steps: int, tolerance: float = 1.0) -> FoundLR:
    """The suggestion of ramps over the same rates.

    Args:
        groups: the ratios of the optimizer's groups.
        tolerance: how many times the rate that the ramps show is suggested.
    """
    reading = read_ramps(curves)
    before, lowest = reading.levels
    lr = rounded(reading.lr * tolerance)
    turn = (
        f"and too high from {reading.edge:.2g} on, where {LOST:.0%} of the fall are lost or the bottom is {MOST_BEYOND:g} "
        "times lower; the suggestion is three quarters of the way from the first of these to the last, in factors"
        if reading.turns
        else f"and not lost again up to {reading.edge:.2g}, where the ramps end: a higher end may show a higher rate"
    )
    reason = (
        f"in the mean of {_count(len(curves), 'ramp')} the loss, {before:.4g} before, has done {FALLEN:.0%} of its fall at "
        f"{reading.half:.2g}, is lowest, {lowest:.4g}, at {reading.bottom:.2g}, {turn}"
    )
    if tolerance != 1:
        reason += f"; {tolerance:g} times that rate, which batch normalisation bears behind a warm-up"
    low, high = reading.low * tolerance, reading.high * tolerance
    return FoundLR(lr, low, high, reason, "ramp", [lr * ratio for ratio in groups], curves, steps)


def judge_runs(curves: list[LRCurve], groups: Sequence[float], length: int, steps: int) -> FoundLR:
    """The suggestion of runs of equal length: the very rate of the one that ended lowest."""
    best, low, high = read_runs(curves, length)
    lr = curves[best].lr[0]
    rates = [curve.lr[0] for curve in curves]
    at_end = len(curves) > 1 and lr in (min(rates), max(rates))
    reason = f"of {_count(len(curves), 'run')} of {length} steps from the same start on the same batches it ends lowest"
    if low < high:
        reason += f"; the runs from {low:.2g} to {high:.2g} differ from it by no more than their noise"
    if at_end:
        reason += f"; it is the {'smallest' if lr == min(rates) else 'largest'} that was tried: try beyond it"
    return FoundLR(lr, low, high, reason, "runs", [lr * ratio for ratio in groups], curves, steps)


def no_suggestion(curves: Iterable[LRCurve], why: Exception) -> ConfigError:
    """What to say where the curves tell nothing."""
    stops = sorted({curve.stopped for curve in curves if curve.stopped})
    return ConfigError(
        f"no learning rate can be suggested: {why}{'. Stopped: ' + '; '.join(stops) if stops else ''}. Try other ends "
        "(low=, high=), more steps= or ramps=, and that the loss is one that this optimizer lowers"
    )


def rounded(value: float) -> float:
    """Two digits: more than its uncertainty has.

    >>> rounded(0.0123)
    0.012
    """
    return float(f"{value:.2g}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _text(lines: list[list[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    shown = ("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in shown)
