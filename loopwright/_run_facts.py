"""``RunFacts``: what there is to know of a run at a glance: where it is, how good, how long it will take. No torch here.

Of metrics.jsonl and speed.jsonl only the ends are read.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ._errors import ConfigError
from ._newest import newest_lines, object_of
from ._record import METRICS, SPEED
from ._when import Limits

_LARGEST = 1e300  # a whole number of JSON may have thousands of digits, which no float has
_NO_METRICS = ("kind", "step", "epoch")


@dataclass(frozen=True)
class RunFacts:
    """One run; None is what is not known. The names are those of ``loopwright runs --json`` and stay as they are.

    Attributes:
        run: its folder.
        id: of the run, the same over all lives.
        state: starting, running, finished, stopped, failed, killed or unreadable.
        reason: why it is in that state.
        epoch: how many epochs are done, the begun one included as a fraction where its length is known.
        epochs, steps: how many it shall do, where that is how its length was given.
        step: the last one that is recorded.
        metric: the one whose best checkpoint is kept, else one that was measured last.
        best: its best value. last: its newest one. NaN and infinities are texts in JSON.
        seconds: how long it has trained, over all lives. seconds_left: of a running one, by its pace so far.
        started, ended: this life, as 2026-11-21T20:02:31+0000.
        checkpoint: the newest one.
        host, pid: who trains, or trained last.
    """

    run: str
    state: str
    id: str | None = None
    reason: str | None = None
    epoch: float | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    metric: str | None = None
    best: float | None = None
    last: float | None = None
    seconds: float | None = None
    seconds_left: float | None = None
    started: str | None = None
    ended: str | None = None
    checkpoint: str | None = None
    host: str | None = None
    pid: int | None = None


def run_facts(info: Mapping[str, Any], now: float | None = None) -> RunFacts:
    """The facts of a run, by what ``list_runs`` says of it.

    Args:
        now: seconds since 1970, for tests.
    """
    now = time.time() if now is None else now
    folder = Path(info["folder"])
    metric, best, last, newest = _measured(folder, info)
    step = max((n for n in (_whole(info.get("step")), _whole(newest.get("step"))) if n is not None), default=None)
    epochs, steps, limit = _limits(info.get("length"))
    per_epoch = _steps_per_epoch(folder, info)
    seconds, at = _trained(folder, info, now)
    epoch = _epoch(info, newest, step, per_epoch)
    left = None
    if info["state"] == "running" and step is not None:
        ends = [n for n in (None if not (epochs and per_epoch) else epochs * per_epoch, steps) if n]
        left = _left(step, ends, limit, info, seconds, at, now)
    return RunFacts(
        run=info["folder"], state=info["state"], id=_text(info.get("id")),
        reason=_text(info.get("reason")) or _text(info.get("stop_reason")),
        epoch=epoch, epochs=epochs, step=step, steps=steps, metric=metric, best=best, last=last,
        seconds=_rounded(seconds), seconds_left=_rounded(left),
        started=_text(info.get("started")), ended=_text(info.get("ended")), checkpoint=_text(info.get("checkpoint")),
        host=_text(info.get("host")), pid=_whole(info.get("pid")),
    )  # fmt: skip


def _measured(folder: Path, info: Mapping[str, Any]) -> tuple[str | None, float | None, float | None, dict[str, Any]]:
    """The metric, its best and last value, and the newest line of the record."""
    kept = info["best"] if isinstance(info.get("best"), dict) else {}
    metric = next(iter(kept), None)
    best = None if metric is None else _number(kept.get(metric))
    newest: dict[str, Any] = {}
    key = (
        b'"kind": "evaluation"' if metric is None else json.dumps(metric, ensure_ascii=False).encode("utf-8", "replace")
    )
    for line in newest_lines(folder / METRICS):
        values = object_of(line) if not newest or key in line else None
        if values is None:
            continue
        newest = newest or values
        name = metric or (_name(values) if values.get("kind") == "evaluation" else None)
        if name is not None and name in values:
            return name, best, _number(values[name]), newest
    name = metric or _name(newest)
    return name, best, None if name is None else _number(newest.get(name)), newest


def _name(values: Mapping[str, Any]) -> str | None:
    return next(
        (name for name, value in values.items() if name not in _NO_METRICS and _number(value) is not None), None
    )


def _limits(length: Any) -> tuple[int | None, int | None, float | None]:
    """How many epochs, steps and seconds a run shall train at most, by its "20 epochs or 7200 seconds"."""
    try:
        limits = Limits(str(length).split(" or ")) if isinstance(length, str) and len(length) < 200 else None
    except (ConfigError, OverflowError):
        limits = None
    if limits is None:
        return None, None, None
    seconds = limits.seconds if math.isfinite(limits.seconds) else None
    return _whole(limits.epochs), _whole(limits.steps), seconds


def _steps_per_epoch(folder: Path, info: Mapping[str, Any]) -> float | None:
    """By the last epoch that ended, else by what its loader said."""
    for line in newest_lines(folder / SPEED):
        if b'"kind": "epoch"' in line and (values := object_of(line)) is not None:
            step, epoch = _whole(values.get("step")), _whole(values.get("epoch"))
            if step and epoch is not None and epoch >= 0:
                return step / (epoch + 1)
    return max(0, _whole(info.get("steps_per_epoch")) or 0) or None


def _epoch(
    info: Mapping[str, Any], newest: Mapping[str, Any], step: int | None, per_epoch: float | None
) -> float | None:
    done = _whole(info.get("epochs_done"))
    if info["state"] not in ("running", "killed") or step is None:
        return done
    if per_epoch:
        return round(step / per_epoch, 2)
    epoch = _whole(newest.get("epoch"))
    return done if epoch is None else epoch


def _trained(folder: Path, info: Mapping[str, Any], now: float) -> tuple[float | None, float | None]:
    """Seconds over all lives whose ends are known, and when the last step was recorded."""
    heard = max((t for name in (METRICS, SPEED) if (t := _changed(folder / name)) is not None), default=None)
    started = _moment(info.get("started"))
    if started is None:
        return None, heard
    end = now if info["state"] == "running" else _moment(info.get("ended")) or heard or started
    lives = info.get("lives") or []
    spans = [(_moment(life.get("started")), _moment(life.get("ended"))) for life in lives if isinstance(life, dict)]
    before = sum(max(0.0, last - first) for first, last in spans if first is not None and last is not None)
    return before + max(0.0, end - started), heard


def _left(
    step: int,
    ends: list[float],
    limit: float | None,
    info: Mapping[str, Any],
    seconds: float | None,
    heard: float | None,
    now: float,
) -> float | None:
    """By the pace of this life; of several limits the first that is reached."""
    found = [limit - seconds] if limit is not None and seconds is not None else []
    started, lives = _moment(info.get("started")), info.get("lives") or []
    before = _whole(lives[-1].get("step")) or 0 if lives and isinstance(lives[-1], dict) else 0
    if ends and started is not None and heard is not None and step > before and heard > started:
        found.append((min(ends) - step) * (heard - started) / (step - before) - (now - heard))
    return max(0.0, min(found)) if found else None


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _moment(text: Any) -> float | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else None


def _number(value: Any) -> float | None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (isinstance(value, int) and abs(value) > _LARGEST)
    ):
        return None
    return float(value)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _text(value: Any) -> str | None:
    return " ".join(value.split()) if isinstance(value, str) else None
