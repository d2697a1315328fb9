"""What the page's chart is drawn from: plain values for JSON, as few as show the same picture."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from ._group import Group
from ._lines import Line, lines_of
from ._numbers import scale_of
from ._report import Report, metrics_of
from ._svg import clean
from ._thin import thin

MOST_POINTS = 100_000  # of all curves together: some 1.5 MB
_LEAST, _MOST = 60, 800  # of one curve
_MOST_METRICS = 24
_KNOTS = 200


def payload(report: Report) -> dict[str, Any]:
    """Curves of every metric, thinned; the labels of groups; how steps become epochs and seconds."""
    names = [name for name in metrics_of(report.runs) if name != report.metric]
    metrics = [name for name in (report.metric, *names) if name is not None][:_MOST_METRICS]
    runs = sum(name in one.curves for one in report.runs for name in metrics)
    groups = sum(any(name in one.curves for one in group.runs) for group in report.groups for name in metrics)
    share = MOST_POINTS // 2  # half for the means, which have a band, half for the single runs
    most, each = (max(_LEAST, min(_MOST, points)) for points in (share // max(1, groups), share // max(1, runs)))
    return {
        "metric": clean(report.metric or ""),
        "metrics": [_metric(report, name, most, each) for name in metrics],
        "groups": [{"label": [clean(part) for part in group.label], "knots": _knots(group)} for group in report.groups],
        "many": any(len(group.runs) > 1 for group in report.groups),
    }


def payload_text(values: dict[str, Any]) -> str:
    """JSON that may stand in a script element, which nothing in it can end.

    >>> payload_text({"label": "</script><!--"})
    '{"label":"\\\\u003c/script\\\\u003e\\\\u003c!--"}'
    """
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def version_of(text: str) -> str:
    """A short name for a state of the report."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _metric(report: Report, name: str, most: int, each: int) -> dict[str, Any]:
    lines = lines_of(report.groups, name, most, each)
    values = [value for line in lines for row in (line.mean.low, line.mean.high) for value in row]
    return {
        "name": clean(name),
        "percent": scale_of(name, values).is_percent,
        "lines": [_line(line) for line in lines],
    }


def _line(line: Line) -> dict[str, Any]:
    mean = line.mean
    values: dict[str, Any] = {"g": line.place, "final": line.is_final, "s": mean.steps, "m": _short(mean.values)}
    if mean.low != mean.high:
        values |= {"lo": _short(mean.low), "hi": _short(mean.high)}
    if line.smooth:
        values |= {"as": line.smooth[0], "am": _short(line.smooth[1])}
    alone = len(line.runs) == 1
    values["runs"] = [
        {"name": clean(one.name), "s": curve.steps, "v": _short(curve.values), "meant": is_meant}
        for one, curve, is_meant in line.runs
        if not (alone and is_meant)  # it is the mean
    ]
    return values


def _knots(group: Group) -> dict[str, Any]:
    """Epochs and seconds at the same steps, of runs that go through the same ones; less where they do not."""
    runs = list(group.counted or group.runs)
    knots: dict[str, Any] = {"s": [0]}
    steps = [step for step, _ in max((one.epochs for one in runs), key=len, default=())]
    clocks = [dict(one.clock) for one in runs]
    if not steps:
        return knots
    kept = [steps[place] for place in thin([steps], _KNOTS)]
    epochs = dict(max((one.epochs for one in runs), key=len))
    knots |= {"s": [0, *kept], "e": [0.0, *(epochs[step] for step in kept)]}
    times = [[clock[step] for clock in clocks if step in clock] for step in kept]
    if all(times) and all(len(row) == len(times[0]) for row in times):
        knots["t"] = [0.0, *(_rounded(sum(row) / len(row)) for row in times)]
    return knots


def _short(values: Sequence[float]) -> list[float]:
    """Five digits, more than a screen has rows; all of the last, which is written beside the line as elsewhere."""
    return [*map(_rounded, values[:-1]), *values[-1:]]


def _rounded(value: float) -> float:
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e6 else short  # without the point and the zero
