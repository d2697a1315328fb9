"""``Report``: what many runs say together. Compares and ranks; draws nothing, writes nothing."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .._errors import ConfigError
from .._names import did_you_mean
from .._stopping import direction_of
from ._finding import Finding, find
from ._found import find_runs
from ._group import PICKS, Group, group_runs, value_of_run
from ._numbers import Scale, count_text, scale_of, time_text
from ._one_run import OneRun, read_one, stamp
from ._sweep_file import SweepFile, read_sweep, with_sweeps

Mode = Literal["min", "max"]
_ENDED = ("finished", "failed", "killed", "pruned", "unreadable", "stopped")


@dataclass(frozen=True)
class Question:
    """What is asked of the runs: by which metric, in which direction, which of its values, and what groups differ by."""

    metric: str | None = None
    mode: Mode | None = None
    pick: str = "last"
    by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in (None, "min", "max"):
            raise ConfigError(f"mode is 'min' or 'max'. Found: {self.mode!r}")
        if self.pick not in PICKS:
            raise ConfigError(f"pick is 'last' or 'best', the value that a run is judged by. Found: {self.pick!r}")


@dataclass(frozen=True)
class Report:
    """What many runs say together; printed, it is the finding and a table.

    Attributes:
        headline: the finding in one sentence, or that there is none.
        finding: the same with its numbers: ``kind, headline, deck, leader, comparisons, pairs``.
        metric, mode: what the runs are judged by, and whether more or less of it is better; None where nobody knows.
        groups: runs that differ in their seed only, the best first: ``label, settings, runs, counted, values, interval``.
        runs: every run: ``name, folder, state, reason, seed, settings, curves, pace, notes``.
        files: what was written, by kind: html, svg, png, json.
    """

    metric: str | None
    mode: str | None
    pick: str
    groups: tuple[Group, ...]
    runs: tuple[OneRun, ...]
    finding: Finding
    scale: Scale
    sweeps: tuple[SweepFile, ...] = ()
    notes: tuple[str, ...] = ()
    files: dict[str, Path] | None = None

    @property
    def headline(self) -> str:
        return self.finding.headline

    @property
    def going(self) -> list[OneRun]:
        """Runs that have not ended."""
        return [one for one in self.runs if one.state not in _ENDED]

    @property
    def unfinished(self) -> list[OneRun]:
        """Runs that count nowhere, for they did not reach their end."""
        return [one for one in self.runs if not one.is_done]

    def __str__(self) -> str:
        rows = [("", *self._row(group)) for group in self.groups]
        widths = [max(len(row[column]) for row in rows) for column in range(4)] if rows else []
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        others = [f"  {one.name}: {one.state}{f', {one.reason}' if one.reason else ''}" for one in self.unfinished]
        heads = [f"{count_text(len(others), 'run')} not finished:"] if others else []
        files = [f"written    {path}" for path in (self.files or {}).values()]
        lines = [self.headline, *self.finding.deck, "", *table, *heads, *others, *self.notes, *files]
        return "\n".join(map(_harmless, lines))

    def _row(self, group: Group) -> tuple[str, str, str]:
        found = group.interval
        value = self.scale.text(found.value) if found else "–"
        if found and found.low is not None and found.high is not None:
            value += f" ({self.scale.text(found.low)} to {self.scale.text(found.high)})"
        seconds = [one.pace.seconds for one in group.counted if one.pace.seconds is not None]
        each = f", {time_text(sum(seconds) / len(seconds))} each" if seconds else ""
        return group.title, value, f"{len(group.counted)} of {count_text(len(group.runs), 'run')}{each}"


class Reader:
    """Reads runs and keeps them: a run that has not changed since is not read again."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[Any, OneRun]] = {}
        self.mark: Any = None  #: The same as long as nothing that was read has changed.

    def read(self, given: Sequence[str | os.PathLike[str]]) -> tuple[list[OneRun], list[SweepFile]]:
        """All runs, and the sweeps that they are trials of."""
        found = find_runs(given)
        runs = [self._read(name, folder) for name, folder in found.runs.items()]
        sweeps = [read_sweep(folder) for folder in found.sweeps]
        self.mark = [self._kept[folder][0] for folder in found.runs.values()], sweeps
        return with_sweeps(runs, sweeps), sweeps

    def _read(self, name: str, folder: Path) -> OneRun:
        mark = (name, stamp(folder))
        if folder not in self._kept or self._kept[folder][0] != mark:
            self._kept[folder] = mark, read_one(name, folder)
        return self._kept[folder][1]


def compare(runs: Sequence[OneRun], sweeps: Sequence[SweepFile], question: Question) -> Report:
    """Group, rank and judge runs.

    Raises:
        ConfigError: no run has the metric or a setting that was asked for, though there are others.
    """
    metric = _metric(runs, sweeps, question.metric)
    mode = _mode(metric, sweeps, question.mode)
    groups = group_runs(runs, metric, mode, pick=question.pick, by=question.by)
    values = [value for one in runs if (value := value_of_run(one, metric, mode, question.pick)) is not None]
    scale = scale_of(metric, values)
    going = sum(one.state not in _ENDED for one in runs)
    notes = tuple(sweep.note for sweep in sweeps if sweep.note)
    finding = find(groups, metric, mode, scale, going=going)
    return Report(metric, mode, question.pick, tuple(groups), tuple(runs), finding, scale, tuple(sweeps), notes)


def metrics_of(runs: Sequence[OneRun]) -> list[str]:
    """Every metric of any run: evaluations before training, and otherwise in alphabetical order."""
    names = {name for one in runs for name in one.curves}
    return sorted(names, key=lambda name: (name.startswith("train/"), "/" not in name, name))


def _metric(runs: Sequence[OneRun], sweeps: Sequence[SweepFile], asked: str | None) -> str | None:
    """As told; else what the sweep ranks by, what most runs keep their best by, or the first that has a direction."""
    names = metrics_of(runs)
    if asked is not None:
        if names and asked not in names:
            hint = did_you_mean(asked, names) or f"there are {', '.join(names)}"
            raise ConfigError(f"no run has measured {asked!r}: {hint}")
        return asked
    kept = [sweep.metric for sweep in sweeps] + [one.best_name for one in runs]
    counts = Counter(name for name in kept if name in names)
    if counts:
        return counts.most_common(1)[0][0]
    known = [name for name in names if _known(name) is not None]
    return next((name for name in known if _known(name) == "max"), next(iter(known), next(iter(names), None)))


def _mode(metric: str | None, sweeps: Sequence[SweepFile], asked: Mode | None) -> str | None:
    told = next((sweep.mode for sweep in sweeps if sweep.metric == metric and sweep.mode), None)
    return asked or told or (_known(metric) if metric else None)


def _known(metric: str) -> str | None:
    try:
        return direction_of(metric, None)
    except ValueError:
        return None


def _harmless(line: str) -> str:
    """A terminal takes some texts for commands."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
