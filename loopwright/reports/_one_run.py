"""``OneRun``: all that a run's folder says, read once. A folder in any condition becomes one: nothing is dropped."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._errors import LoopwrightError
from .._files import open_unlinked, read_json_lines, read_within
from .._record import CONFIG, METRICS, NONFINITE, PICTURES, RUN, SPEED, read_run
from .._run_state import true_state
from .._yaml import MOST_BYTES, parse_yaml
from ._curve import Curve, curves_of
from ._sheets import SheetFile, sheets_of

PICTURE = "predictions.png"
_FILES = (RUN, CONFIG, METRICS, SPEED, NONFINITE, PICTURE, PICTURES)


@dataclass(frozen=True)
class Pace:
    """How fast it went, of the epochs in speed.jsonl: seconds in all, samples a second, the share spent waiting for data."""

    seconds: float | None = None
    rate: float | None = None
    waiting: float | None = None


@dataclass(frozen=True)
class OneRun:
    """One run.

    Attributes:
        state: finished, running, stopped, failed, killed, pruned, waiting or unreadable.
        reason: why it is in that state, in one line; empty where nothing is to be said.
        settings: its configuration, nested; empty where there is none.
        epochs: (step, epochs done) at the end of each epoch.
        clock: (step, seconds of training since the beginning) at the end of each epoch.
        sheets: the sheets of pictures in its record, by their names.
        notes: what else should be known of it: spikes, samples left out, files that cannot be read.
    """

    name: str
    folder: Path
    state: str
    reason: str = ""
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    epochs: tuple[tuple[int, float], ...] = ()
    clock: tuple[tuple[int, float], ...] = ()
    pace: Pace = field(default_factory=Pace)
    best_name: str | None = None
    started: str = ""
    notes: tuple[str, ...] = ()
    sheets: Mapping[str, tuple[SheetFile, ...]] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        return self.state == "finished"

    @property
    def has_picture(self) -> bool:
        """Whether there is a sheet of predictions of the end."""
        path = self.folder / PICTURE
        return path.is_file() and not path.is_symlink()


def read_one(name: str, folder: Path) -> OneRun:
    """What is in a folder; what cannot be read is said in its ``reason`` and ``notes``."""
    trouble: list[str] = []
    try:
        info = read_run(folder) if os.path.lexists(folder / RUN) else {"state": "killed"}
    except LoopwrightError as error:
        info = {"state": "unreadable", "reason": _one_line(error)}
    lines = list(_lines(folder / METRICS, trouble))
    speed = [line for line in _lines(folder / SPEED, trouble) if line.get("kind") == "epoch"]
    sheets = sheets_of(folder, _lines(folder / PICTURES, trouble))
    best = info.get("best")
    return OneRun(
        name, folder, _state(folder, info), _reason(info),
        seed=_seed(info), settings=_settings(folder / CONFIG, trouble), curves=curves_of(lines),
        epochs=tuple(_ends(lines)), clock=tuple(_clock(speed)), pace=_pace(speed),
        best_name=next(iter(best), None) if isinstance(best, dict) else None,
        started=str(info.get("started") or ""), notes=(*_notes(lines), *trouble),
        sheets=sheets,
    )  # fmt: skip


def stamp(folder: Path) -> tuple[Any, ...]:
    """What changes when a run goes on: sizes and times of its files, and whether somebody holds it."""
    found: list[Any] = []
    for name in _FILES:
        with contextlib.suppress(OSError):
            status = os.lstat(folder / name)
            found.append((name, status.st_size, status.st_mtime_ns))
    return (*found, true_state(folder, {"state": "running"}))


def _lines(path: Path, trouble: list[str]) -> Iterator[dict[str, Any]]:
    """The lines of a file up to the first that cannot be read."""
    if not os.path.lexists(path):
        return
    try:
        yield from read_json_lines(path)
    except (OSError, ValueError) as error:
        trouble.append(f"{path.name} cannot be read to its end ({_one_line(error)})")


def _settings(path: Path, trouble: list[str]) -> Mapping[str, Any]:
    if not os.path.lexists(path):
        return {}
    try:  # not read_yaml: a stranger's 'include' would show other files of this machine
        return parse_yaml(read_within(open_unlinked(path), MOST_BYTES).decode(), path.name).values
    except (OSError, ValueError, RecursionError) as error:
        trouble.append(f"{path.name} cannot be read ({_one_line(error)})")
        return {}


def _state(folder: Path, info: Mapping[str, Any]) -> str:
    try:
        return str(true_state(folder, dict(info)))
    except (OSError, ValueError):
        return str(info.get("state", "?"))


def _reason(info: Mapping[str, Any]) -> str:
    said = info.get("reason") or info.get("stop_reason")
    return _one_line(said) if said else ""


def _seed(info: Mapping[str, Any]) -> int | None:
    seed = info.get("seed")
    return None if isinstance(seed, bool) else seed


def _ends(lines: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, float]]:
    """Rising steps only: a record that says otherwise is not believed."""
    at, done = 0, 0
    for line in lines:
        step, epoch = line.get("step"), line.get("epoch")
        if line.get("kind") != "epoch" or not isinstance(step, int) or not isinstance(epoch, int):
            continue
        if at < step < 2**53 and done <= epoch < 2**31:
            at, done = step, epoch + 1
            yield at, float(done)


def _clock(speed: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, float]]:
    at, gone = 0, 0.0
    for line in speed:
        step, seconds = line.get("step"), _rate(line, "seconds")
        if isinstance(step, int) and seconds is not None:
            gone += seconds
            if at < step < 2**53:
                at = step
                yield at, gone


def _pace(speed: list[dict[str, Any]]) -> Pace:
    """Over all epochs; those that a killed run did twice took their time twice."""
    keys = ("seconds", "samples_per_second", "waiting")
    rows = [row for line in speed if None not in (row := tuple(_rate(line, key) for key in keys))]
    gone = sum(row[0] or 0.0 for row in rows)
    if not gone:
        return Pace()
    return Pace(gone, *(sum((row[0] or 0.0) * (row[place] or 0.0) for row in rows) / gone for place in (1, 2)))


def _rate(line: Mapping[str, Any], key: str) -> float | None:
    value = line.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value < 1e15 else None


def _notes(lines: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    kinds = [line.get("kind") for line in lines]
    for kind, one, several in (("spike", "spike", "spikes"), ("left_out", "step left out", "steps left out")):
        count = kinds.count(kind)
        if count:
            yield f"{count} {one if count == 1 else several}"


def _one_line(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 300 else f"{text[:297]}..."
