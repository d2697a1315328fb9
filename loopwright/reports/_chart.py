"""The curves as SVG: one line a group, labelled where it ends. Sizes are in pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

from ._colors import color_class
from ._lines import Line
from ._mean import Mean
from ._numbers import Scale
from ._spread import spread
from ._svg import bounded, element, path, shortened, text_width, words
from ._ticks import ticks

_LABELLED = 6  # lines with a label; the others are context
_LINE = 15  # height of a line of a label


@dataclass(frozen=True)
class Frame:
    """Where values lie on the picture."""

    left: float
    top: float
    width: float
    height: float
    steps: tuple[float, float]
    values: tuple[float, float]

    def x(self, step: float) -> float:
        low, high = self.steps
        return self.left + (step - low) / (high - low) * self.width

    def y(self, value: float) -> float:
        """Values far outside are kept near, where they are cut off: a renderer may fail over huge numbers."""
        low, high = self.values
        return self.top + self.height * (1 - min(max((value - low) / (high - low), -2.0), 3.0))


def chart(lines: Sequence[Line], scale: Scale, top: float, width: float, height: float, name: str = "plot") -> str:
    """The curves with axes and labels, from ``top`` downwards; ``name`` makes ids unlike those of another chart."""
    if not lines:
        return words("Nothing has been measured yet.", 0, top + 20, class_="soft")
    margin = 12 + max((_label_width(line) for line in lines[:_LABELLED]), default=0)
    values = [value for line in _ranging(lines) for value in (*line.mean.low, *line.mean.high)]
    steps = [step for line in lines for step in line.mean.steps[-1:]]
    frame = Frame(54, top, width - 54 - margin, height - 40, bounded([0.0, *map(float, steps)]), bounded(values))
    clip = element(
        "clipPath",
        element("rect", x=frame.left, y=top - 2, width=frame.width + 2, height=frame.height + 4),
        id=f"{name}-clip",
    )
    drawn = "".join(_curve(line, frame) for line in reversed(lines))
    return "".join(
        (_axes(frame, scale), clip, element("g", drawn, clip_path=f"url(#{name}-clip)"), _labels(lines, frame, scale))
    )


def _ranging(lines: Sequence[Line]) -> Sequence[Line]:
    """Whose values decide the range: a run that diverged must not press the others flat."""
    return [line for line in lines if line.is_final] or lines


def _axes(frame: Frame, scale: Scale) -> str:
    rows = []
    across = ticks(*frame.values)
    for value in across:
        y = frame.y(value)
        rows.append(element("line", x1=frame.left, x2=frame.left + frame.width, y1=y, y2=y, class_="grid"))
        rows.append(
            words(tick_text(value, across, scale), frame.left - 8, y + 4, class_="soft tick", text_anchor="end")
        )
    bottom = frame.top + frame.height
    rows.append(element("line", x1=frame.left, x2=frame.left + frame.width, y1=bottom, y2=bottom, class_="axis"))
    along = ticks(*frame.steps, about=6)
    for step in along:
        rows.append(words(f"{step:,.6g}", frame.x(step), bottom + 18, class_="soft tick", text_anchor="middle"))
    rows.append(words("steps", frame.left + frame.width, bottom + 34, class_="soft tick", text_anchor="end"))
    return "".join(rows)


def tick_text(value: float, all_of_them: Sequence[float], scale: Scale) -> str:
    """A round number as an axis shows it: with a unit at the top one only."""
    if scale.is_percent:
        return f"{100 * value:.4g}{' %' if value == all_of_them[-1] else ''}"
    return f"{value:.6g}"


def _curve(line: Line, frame: Frame) -> str:
    color, pieces = color_class(line.place), []
    if color != "other" and line.mean.low != line.mean.high:
        pieces.append(element("path", d=_band(line.mean, frame), class_=f"band {color}"))
    for _, curve, is_meant in line.runs:
        if not is_meant:
            points = [(frame.x(step), frame.y(value)) for step, value in zip(curve.steps, curve.values, strict=True)]
            pieces.append(element("path", d=path(points), class_=f"lost {color}"))
    points = [(frame.x(step), frame.y(value)) for step, value in zip(line.mean.steps, line.mean.values, strict=True)]
    pieces.append(element("path", d=path(points), class_=f"line {color}"))
    if len(points) == 1:
        pieces.append(element("circle", cx=points[0][0], cy=points[0][1], r=3, class_=f"dot {color}"))
    return "".join(pieces)


def _band(mean: Mean, frame: Frame) -> str:
    there = [(frame.x(step), frame.y(value)) for step, value in zip(mean.steps, mean.high, strict=True)]
    back = [(frame.x(step), frame.y(value)) for step, value in zip(mean.steps, mean.low, strict=True)]
    return f"{path([*there, *reversed(back)])}Z"


def _labels(lines: Sequence[Line], frame: Frame, scale: Scale) -> str:
    named = [line for line in lines if line.place < _LABELLED and line.mean.steps]
    wanted = [frame.y(line.mean.values[-1]) for line in named]
    heights = [_LINE * len(_parts(line)) + 5.0 for line in named]
    middles = spread(wanted, heights, frame.top - 12, frame.top + frame.height + 12)
    return "".join(_label(*row, frame) for row in zip(named, middles, wanted, strict=True))


def _label(line: Line, middle: float, wanted: float, frame: Frame) -> str:
    color, parts = color_class(line.place), _parts(line)
    end, left = frame.x(line.mean.steps[-1]), frame.left + frame.width + 12
    first = middle - (len(parts) - 1) * _LINE / 2 + 4
    pieces = [words(part, left, first + row * _LINE, class_=f"label {color}") for row, part in enumerate(parts)]
    far = " far" * (left - end > 20)  # the line ends early
    if abs(middle - wanted) > 6 or far:
        pieces.append(element("path", d=path([(end + 3, wanted), (left - 3, middle)]), class_=f"leader{far} {color}"))
    return "".join(pieces)


def _parts(line: Line) -> list[str]:
    """At most two lines of text."""
    label = list(line.group.label)
    rows = label if len(label) <= 2 else [label[0], " · ".join(label[1:])]
    return [shortened(row, 13, 190) for row in rows]


def _label_width(line: Line) -> float:
    return max(text_width(part, 13) for part in _parts(line)) * 1.06
