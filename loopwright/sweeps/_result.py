"""``SweepResult``: what came of a sweep, for a reader, for Python, and as sweep.json."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from .._yaml import dump_yaml
from ._importance import Importance, importances
from ._outcome import UNFINISHED, Outcome, picked
from ._space import Space
from ._table import outcome_table, settings_text

_ORDER = {state: place for place, state in enumerate(("pruned", "running", "finished", "failed", *UNFINISHED))}


@dataclass(frozen=True)
class SweepResult:
    """What came of a sweep; printed, it is the table, the importance of the settings, and the best of them.

    Attributes:
        folder: of the sweep.
        metric, mode: what the trials are ranked by, and whether more ("max") or less ("min") of it is better.
        pick: which measurement of a trial counts, "best" or "last".
        trials: every trial in the order of doing, as ``Outcome``: ``id, number, folder, state, settings, values, value, at,
            curve, reason, seconds, is_default``. ``state`` is finished, pruned, failed, running, stopped, killed or waiting.
        threads: of each trial.
    """

    folder: Path
    method: str
    metric: str
    mode: Literal["min", "max"]
    pick: Literal["best", "last"]
    trials: tuple[Outcome, ...]
    space: Space
    threads: int

    @property
    def ranked(self) -> list[Outcome]:
        """The trials that ran to their end and have a value, the best first; of equal ones the earlier."""
        sign = -1 if self.mode == "max" else 1
        return sorted(self._finished, key=lambda one: sign * (one.value or 0.0))

    @property
    def best(self) -> Outcome | None:
        """The best trial; None where none has run to its end."""
        return next(iter(self.ranked), None)

    @property
    def unfinished(self) -> list[Outcome]:
        """Trials that the same command would go on with, or that are running elsewhere."""
        return [one for one in self.trials if one.state in (*UNFINISHED, "running")]

    @cached_property
    def importance(self) -> list[Importance]:
        """How much of the differences between the trials each setting explains, the largest first.

        Where trials were pruned, all are compared by what they had reached when the first of these was, so that it is not
        about the survivors alone. A trial whose loss became NaN is the worst.
        """
        worst = -math.inf if self.mode == "max" else math.inf
        points = [(one, picked(one.curve[: self.compared_after], self.mode, self.pick)) for one in self._compared]
        pairs = [(one.values, point.value) for one, point in points if point is not None]
        return importances(pairs + [(one.values, worst) for one in self.trials if one.diverged], self.space.keys)

    @property
    def compared_after(self) -> int | None:
        """By how many measurements the importance compares trials; None for all that each has."""
        pruned = any(one.state == "pruned" for one in self._compared)
        return min(len(one.curve) for one in self._compared) if pruned else None

    @property
    def _compared(self) -> list[Outcome]:
        return [one for one in self.trials if one.state in ("finished", "pruned") and one.value is not None]

    @property
    def _finished(self) -> list[Outcome]:
        return [one for one in self.trials if one.state == "finished" and one.value is not None]

    def as_study(self) -> Any:
        """All trials as an Optuna study in memory (extra ``sweep``), for its plots or to be copied into a storage."""
        from ._optuna import as_study

        return as_study(self.space, self.trials, self.mode)

    def as_json(self) -> dict[str, Any]:
        """Plain values of all of it: what sweep.json holds."""
        return {
            "method": self.method,
            "metric": self.metric,
            "mode": self.mode,
            "threads": self.threads,
            "keys": self.space.keys,
            "best": self.best.id if self.best else None,
            "ranked": [one.id for one in self.ranked],
            "compared_after": self.compared_after,
            "importance": [asdict(one) | {"verdict": one.verdict} for one in self.importance],
            "trials": [_plain(one) for one in self.trials],
        }

    def best_yaml(self, config: Mapping[str, Any]) -> str:
        """The configuration of the best trial as a file that can be trained again."""
        best = self.best
        said = f"{self.metric} {best.value:.6g}, trial {best.id}" if best else "none ran to its end"
        return f"# The best of {len(self.trials)} trials of {self.folder}: {said}.\n{dump_yaml(config)}"

    def __str__(self) -> str:
        ranked = self.ranked
        others = sorted((one for one in self.trials if one not in ranked), key=lambda one: _ORDER[one.state])
        lines = [outcome_table(ranked, others, self.space.keys, self.metric), ""]
        lines += [f"importance {one.key}: {one.verdict}" for one in self.importance]
        if self.compared_after:
            lines.append(
                f"           of all trials after {self.compared_after} measurements, where the first was pruned"
            )
        return "\n".join([*lines, *self._best_lines(), *self._unfinished_lines()])

    def _best_lines(self) -> list[str]:
        best, default = self.best, next((one for one in self.trials if one.is_default and one.value is not None), None)
        if best is None:
            return ["best       none: no trial has run to its end"]
        against = "" if default is None or default.value is None else f"; the defaults {default.value:.4g}"
        said = "the defaults" if best.is_default else settings_text(best.values, self.space.keys)
        return [
            f"best       {self.metric} {best.value:.4g} with {said}{against}",
            f"written    {self.folder / 'best.yaml'}",
        ]

    def _unfinished_lines(self) -> list[str]:
        running = sum(one.state == "running" for one in self.unfinished)
        left = len(self.unfinished) - running
        lines = [f"unfinished {left} trial{'s' * (left != 1)}: the same command goes on"] if left else []
        return lines + ([f"running    {running} trial{'s' * (running != 1)} elsewhere"] if running else [])


def _plain(one: Outcome) -> dict[str, Any]:
    facts = asdict(one)
    return facts | {"curve": [[point.step, point.value] for point in one.curve]}
