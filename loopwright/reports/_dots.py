"""Where the runs ended, as SVG: a row a group with its seeds as dots, its mean, and the interval of the mean."""

from collections.abc import Callable, Iterator, Sequence

from ._colors import color_class
from ._group import Group
from ._numbers import Scale
from ._svg import bounded, element, shortened, words

ROW = 30.0
MOST_ROWS = 12


def reach_of(groups: Sequence[Group]) -> tuple[float, float]:
    """The axis of the rows: all seeds, and the intervals as far as they do not press the seeds together."""
    values = [value for group in groups for value in group.values]
    low, high = bounded(values)
    pad = (high - low) * 0.75
    ends = [end for group in groups if (found := group.interval) for end in (found.low, found.high) if end is not None]
    inside = [min(max(end, low - pad), high + pad) for end in ends]
    low, high = bounded([low, high, *inside])
    return low - (high - low) * 0.04, high + (high - low) * 0.04


def dots(groups: Sequence[Group], scale: Scale, top: float, width: float) -> str:
    """The rows with labels and values, from ``top`` downwards."""
    shown = [group for group in groups if group.values][:MOST_ROWS]
    low, high = reach_of(shown)
    left, right = 210.0, width - 96.0

    def x(value: float) -> float:
        return left + (min(max(value, low), high) - low) / (high - low) * (right - left)

    rows = []
    for place, group in enumerate(shown):
        y = top + ROW * (place + 0.5)
        color = color_class(groups.index(group))
        rows.append(words(shortened(group.title, 13, left - 20), 0, y + 4, class_=f"label {color}"))
        rows.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
        rows.extend(_marks(group, color, x, y))
        rows.append(
            words(
                scale.text(group.interval.value if group.interval else 0.0),
                width,
                y + 4,
                class_="value",
                text_anchor="end",
            )
        )
    more = sum(bool(group.values) for group in groups) - len(shown)
    if more > 0:
        rows.append(words(f"and {more:,} more", 0, top + ROW * len(shown) + 18, class_="soft"))
    return "".join(rows)


def height_of(groups: Sequence[Group]) -> float:
    """How tall the rows are."""
    count = sum(bool(group.values) for group in groups)
    return ROW * min(count, MOST_ROWS) + 26 * (count > MOST_ROWS)


def _marks(group: Group, color: str, x: Callable[[float], float], y: float) -> Iterator[str]:
    interval = group.interval
    if interval is None:
        return
    if interval.low is not None and interval.high is not None:
        yield element("line", x1=x(interval.low), x2=x(interval.high), y1=y, y2=y, class_=f"interval {color}")
    for value in group.values:
        yield element("circle", cx=x(value), cy=y, r=4.5, class_=f"seed {color}")
    middle = x(interval.value)
    yield element("line", x1=middle, x2=middle, y1=y - 9, y2=y + 9, class_=f"mean {color}")
