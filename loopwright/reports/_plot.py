"""The report as a PNG, drawn by matplotlib (extra ``plots``) from the same lines and groups as the SVG."""

import io
from typing import Any

from .._errors import MissingExtra
from ._colors import LIGHT, MOST
from ._lines import lines_of
from ._report import Report
from ._svg import clean, shortened, wrapped

_SOFT, _GRID, _PAPER, _OTHERS = "#63666d", "#e4e3df", "#fffdfa", "#9a9ca1"
_MOST_ROWS = 12


def png(report: Report) -> bytes:
    """The picture as the bytes of a PNG, 1800 pixels wide.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # type: ignore[reportMissingImports]
        from matplotlib.figure import Figure  # type: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtra("matplotlib", "a report as PNG", "plots") from None
    shown = [group for group in report.groups if group.values][:_MOST_ROWS]
    tall = 5.2 + 0.32 * len(shown)
    figure = Figure(figsize=(9, tall), dpi=200, facecolor=_PAPER, layout="constrained")
    figure.get_layout_engine().set(rect=(0.012, 0.012, 0.976, 0.976))  # type: ignore[union-attr]
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, height_ratios=[3.6, max(0.4, 0.32 * len(shown))])
    heads = wrapped(_plain(report.headline), 15 * 1.28, 620)
    figure.suptitle("\n".join(heads), x=0.02, ha="left", fontsize=15, fontweight="bold", fontfamily="serif")
    _curves(top, report)
    _ends(bottom, report, shown)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", facecolor=_PAPER)
    return stream.getvalue()


def _curves(axes: Any, report: Report) -> None:
    lines = lines_of(report.groups, report.metric, 600) if report.metric else []
    _plain_axes(axes, "y")
    times = 100 if report.scale.is_percent else 1
    for line in reversed(lines):
        color = _color(line.place)
        values = [times * value for value in line.mean.values]
        if line.place < MOST and line.mean.low != line.mean.high:
            low, high = ([times * value for value in row] for row in (line.mean.low, line.mean.high))
            axes.fill_between(line.mean.steps, low, high, color=color, alpha=0.14, linewidth=0)
        axes.plot(
            line.mean.steps,
            values,
            color=color,
            linewidth=1.8 if line.place < MOST else 0.7,
            marker="o" * (len(values) == 1),
        )
        for _, curve, is_meant in line.runs:
            if not is_meant:
                axes.plot(
                    curve.steps, [times * value for value in curve.values], color=color, linewidth=0.9, linestyle="--"
                )
    final = [line for line in lines if line.is_final] or lines
    ends = [times * value for line in final for row in (line.mean.low, line.mean.high) for value in row]
    if ends and min(ends) < max(ends):  # a run that diverged must not press the others flat
        reach = max(ends) - min(ends)
        axes.set_ylim(min(ends) - 0.05 * reach, max(ends) + 0.05 * reach)
    labelled = [line for line in lines if line.place < MOST and line.mean.values]
    _labels(axes, [(line.mean.values[-1] * times, _named(line.group.title), _color(line.place)) for line in labelled])
    unit = ", %" if report.scale.is_percent else ""
    axes.set_title(
        _plain(f"{report.metric or 'nothing measured'}{unit}; line: mean, band: all seeds"),
        loc="left",
        fontsize=9,
        color=_SOFT,
    )
    axes.set_xlabel("step", fontsize=8, color=_SOFT)


def _labels(axes: Any, labels: list[tuple[float, str, str]]) -> None:
    """Beside the axes, spread so that none covers another, in shares of the height."""
    from ._spread import spread

    low, high = axes.get_ylim()
    wanted = [1 - (value - low) / (high - low) for value, _, _ in labels]
    middles = spread(wanted, [0.055] * len(labels), 0.0, 1.0)
    for (_, text, color), middle in zip(labels, middles, strict=True):
        axes.annotate(
            text,
            (1.01, 1 - middle),
            xycoords="axes fraction",
            color=color,
            fontsize=8.5,
            fontweight="bold",
            va="center",
        )


def _ends(axes: Any, report: Report, shown: list[Any]) -> None:
    _plain_axes(axes, "x")
    times = 100 if report.scale.is_percent else 1
    for row, group in enumerate(shown):
        color, interval = _color(report.groups.index(group)), group.interval
        if interval.low is not None:
            axes.plot([times * interval.low, times * interval.high], [row, row], color=color, linewidth=4, alpha=0.28)
        axes.plot(
            [times * value for value in group.values],
            [row] * len(group.values),
            "o",
            color=color,
            markersize=5,
            alpha=0.8,
        )
        axes.plot([times * interval.value] * 2, [row - 0.32, row + 0.32], color=color, linewidth=2)
    axes.set_yticks(range(len(shown)), [_named(group.title) for group in shown], fontsize=8.5)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_title("at the end; dots: seeds, tick: mean, bar: its 95 % interval", loc="left", fontsize=9, color=_SOFT)


def _plain_axes(axes: Any, grid: str) -> None:
    axes.set_facecolor(_PAPER)
    axes.grid(axis=grid, color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8, colors=_SOFT)
    for side in axes.spines.values():
        side.set_visible(False)


def _color(place: int) -> str:
    return LIGHT[place] if place < MOST else _OTHERS


def _named(title: str) -> str:
    return _plain(shortened(title, 8.5, 150))


def _plain(text: str) -> str:
    """Text in which matplotlib sees no formulas."""
    return clean(text).replace("$", r"\$")
