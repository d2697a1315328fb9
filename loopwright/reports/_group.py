"""``Group``: the runs of one configuration, which differ in their seed only."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .._errors import ConfigError
from .._names import did_you_mean
from .._resume import HARMLESS
from .._yaml import MISSING
from ._one_run import OneRun
from ._settings import differing, identity, labels
from ._student import Interval, mean_interval

PICKS = ("last", "best")
RUN_NAME = "run name"  # stands in for the settings of runs that wrote none


@dataclass(frozen=True)
class Group:
    """Runs of one configuration.

    Attributes:
        label: its settings that tell it apart, as parts.
        settings: its value of every setting that differs between the groups.
        runs: all of them, whatever became of them.
        counted: those whose value counts: they finished, have one, and no other run counts for the same seed.
        values: of the metric, one for each in ``counted``.
    """

    label: tuple[str, ...]
    settings: Mapping[str, Any]
    runs: tuple[OneRun, ...]
    counted: tuple[OneRun, ...]
    values: tuple[float, ...]

    @property
    def title(self) -> str:
        return " · ".join(self.label)

    @cached_property
    def interval(self) -> Interval | None:
        """The mean of the values and its 95 % interval; None without values."""
        return mean_interval(self.values) if self.values else None

    @property
    def repeats(self) -> tuple[OneRun, ...]:
        """Runs that finished with a seed that counts already: they are no further evidence."""
        seeds = {one.seed for one in self.counted}
        names = {one.name for one in self.counted}
        return tuple(one for one in self.runs if one.is_done and one.name not in names and one.seed in seeds)


def group_runs(
    runs: Sequence[OneRun], metric: str | None, mode: str | None, *, pick: str = "last", by: Sequence[str] = ()
) -> list[Group]:
    """Every run in exactly one group; the best group first, those without a value last.

    Groups differ in at least one setting other than the seed, or in one of ``by`` if these are given. Runs that wrote no
    settings are grouped by the name of their folder without the number at its end.

    Raises:
        ConfigError: no run has a setting that ``by`` names.
    """
    found = differing([_settings(one) for one in runs])
    twins = [(*(identity(values[row]) for values in found.values()), one.seed) for row, one in enumerate(runs)]
    settings = {key: found[key] for key in _asked(by, found, runs)} if by else found
    rows: dict[tuple[str, ...], list[int]] = {}
    for row in range(len(runs)):
        rows.setdefault(tuple(identity(values[row]) for values in settings.values()), []).append(row)
    firsts = [places[0] for places in rows.values()]
    chosen = {key: [values[first] for first in firsts] for key, values in settings.items()}
    named = _labels(chosen, len(rows)) if len(rows) > 1 else [_only_label(runs)] * len(rows)
    groups = [
        _group(
            label,
            {key: chosen[key][place] for key in chosen},
            [(runs[row], twins[row]) for row in members],
            lambda one: value_of_run(one, metric, mode, pick),
        )
        for place, (label, members) in enumerate(zip(named, rows.values(), strict=True))
    ]
    sign = -1 if mode == "max" else 1
    return sorted(groups, key=lambda group: (not group.values, sign * _mean(group), group.title))


def _group(
    label: tuple[str, ...],
    settings: Mapping[str, Any],
    members: Sequence[tuple[OneRun, tuple[Any, ...]]],
    value_of: Callable[[OneRun], float | None],
) -> Group:
    counted: dict[Any, tuple[OneRun, float]] = {}
    for one, twin in sorted(members, key=lambda member: member[0].started):  # of the same settings and seed the newest
        value = value_of(one)
        if one.is_done and value is not None:
            counted[one.name if one.seed is None else twin] = one, value
    pairs = sorted(counted.values(), key=lambda pair: pair[0].name)
    ones, values = tuple(one for one, _ in pairs), tuple(value for _, value in pairs)
    return Group(label, settings, tuple(one for one, _ in members), ones, values)


def value_of_run(one: OneRun, metric: str | None, mode: str | None, pick: str) -> float | None:
    """What a run is judged by: the value that it ended with, or the best that it had."""
    curve = one.curves.get(metric or "")
    if curve is None:
        return None
    best = curve.best(mode) if mode else None
    return best[1] if pick == "best" and best else curve.last


def _settings(one: OneRun) -> Mapping[str, Any]:
    known = {key: value for key, value in one.settings.items() if key not in (*HARMLESS, "seed")}
    return known or {RUN_NAME: re.sub(r"[-_. /]*(seed|s)?[-_. ]*\d*$", "", one.name) or one.name}


def _labels(chosen: Mapping[str, Sequence[Any]], count: int) -> list[tuple[str, ...]]:
    """Those of the settings; of groups without any the name of their folder."""
    bare = [values is not MISSING for values in chosen.get(RUN_NAME, [MISSING] * count)]
    named = labels(
        {key: [v for v, is_bare in zip(values, bare, strict=True) if not is_bare] for key, values in chosen.items()}
    )
    rest = iter(named)
    return [(str(chosen[RUN_NAME][row]),) if is_bare else next(rest, ("settings",)) for row, is_bare in enumerate(bare)]


def _asked(by: Sequence[str], settings: Mapping[str, Sequence[Any]], runs: Sequence[OneRun]) -> list[str]:
    """The settings that differ, of those that were asked for by their whole name or its last part."""
    known = {key for one in runs for key in _keys(one.settings)} | set(settings)
    for name in by:
        if not any(_is_named(key, name) for key in known):
            hint = did_you_mean(name, known) or f"the settings that differ are {', '.join(settings) or 'none'}"
            raise ConfigError(f"no run has a setting {name!r}: {hint}")
    return [key for key in settings if any(_is_named(key, name) for name in by)]


def _keys(settings: Mapping[Any, Any], above: str = "") -> Iterator[str]:
    for key, value in settings.items():
        yield f"{above}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{above}{key}.")


def _is_named(key: str, name: str) -> bool:
    return name in (key, key.rpartition(".")[2]) or key.startswith(f"{name}.")


def _only_label(runs: Sequence[OneRun]) -> tuple[str, ...]:
    model = runs[0].settings.get("model") if runs else None
    name = model.get("name") if isinstance(model, Mapping) else model
    return (name if isinstance(name, str) and name else "all runs",)


def _mean(group: Group) -> float:
    interval = group.interval
    return interval.value if interval else 0.0
