"""Curves of loss over learning rate as a matplotlib figure. The only file that knows matplotlib; opens no window."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._errors import MissingExtra
from ._lr_curve import LRCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FAINT, _LINE, _MARK = "#b6bfc9", "#1f6feb", "#cf222e"


def plot_ramps(
    curves: Sequence[LRCurve], mean: tuple[list[float], list[float]], lr: float, low: float, high: float, title: str
) -> "Figure":
    """Each ramp's losses, faint, the mean of the ramps, and the suggestion with its range."""
    figure = _new_figure()
    axes = figure.add_subplot()
    for curve in curves:
        axes.plot(curve.lr, curve.read, color=_FAINT, linewidth=0.8)
    axes.plot(*mean, color=_LINE, linewidth=2, label=f"mean of {len(curves)} ramps, smoothed")
    _mark(axes, lr, low, high)
    _finish(axes, [value for value in mean[1] if math.isfinite(value)], title)
    return figure


def plot_runs(
    curves: Sequence[LRCurve], ends: Sequence[float], lr: float, low: float, high: float, title: str
) -> "Figure":
    """Where each run ended, over its rate, and beside it the runs step by step."""
    figure = _new_figure(width=11.0)
    left, right = figure.subplots(1, 2)
    rates = [curve.lr[0] for curve in curves]
    left.plot(rates, ends, "o-", color=_LINE, label="loss at the end of a run")
    _mark(left, lr, low, high)
    _finish(left, [end for end in ends if math.isfinite(end)], title)
    for curve in curves:
        right.plot(curve.smoothed, label=f"{curve.lr[0]:.3g}", linewidth=1)
    right.set(xlabel="step", ylabel="loss")
    right.legend(title="learning rate", fontsize="small")
    return figure


def _new_figure(width: float = 7.0) -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "a plot of learning rates", "plots") from None
    return Figure(figsize=(width, 4.5), layout="constrained")  # a figure of its own: pyplot keeps none


def _mark(axes: "object", lr: float, low: float, high: float) -> None:
    axes.axvspan(low, high, color=_MARK, alpha=0.12, linewidth=0)  # type: ignore[attr-defined]
    axes.axvline(lr, color=_MARK, label=f"suggestion {lr:.3g} ({low:.2g} .. {high:.2g})")  # type: ignore[attr-defined]


def _finish(axes: "object", values: list[float], title: str) -> None:
    """A divergence is not to press everything else flat: what is shown ends a little above where the loss began."""
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title=title)  # type: ignore[attr-defined]
    if values:
        bottom, begin = min(values), values[0]
        room = max(abs(begin - bottom), 1e-6)
        axes.set_ylim(bottom - 0.4 * room, max(begin, bottom + room) + 1.2 * room)  # type: ignore[attr-defined]
    axes.legend(fontsize="small")  # type: ignore[attr-defined]
