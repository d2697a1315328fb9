"""What a ``study:`` mapping may hold: how the settings of the ``sweep:`` tree are searched, and where."""

import shlex
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from .._config import Named, Settings
from .._errors import ConfigError
from .._stopping import direction_of
from ._optuna import check_pruner, require_optuna

STUDY = "study"
TRIALS = 20  # of random and tpe


class PruneSettings(Named):
    """Which trials are ended early: ``median`` or ``hyperband``, with arguments of Optuna's pruner of that name."""

    @model_validator(mode="after")
    def _known(self) -> "PruneSettings":
        check_pruner(self.name, self.arguments)
        return self


class StudySettings(Settings):
    """The keys of ``study``."""

    method: Literal["grid", "random", "tpe"] = "random"
    trials: int | None = Field(default=None, ge=1, le=10_000)  # the defaults included; a grid has all there are
    metric: str = Field(default="val/top1", min_length=1)  # of metrics.jsonl
    mode: Literal["min", "max"] | None = None  # by the metric's customary name
    pick: Literal["best", "last"] = "best"  # which value of a trial counts
    seed: int = Field(default=0, ge=0, lt=2**32)  # of what is drawn
    folder: str | None = None  # by default sweeps/NAME of the file
    workers: int = Field(default=1, ge=1, le=256)  # trials at once
    threads: int | None = Field(default=None, ge=1)  # of each trial; by default cores / workers
    defaults: bool = True  # the configuration as it stands is a trial too, the first one; not of a grid
    prune: PruneSettings | None = None
    command: list[str] | None = Field(default=None, min_length=1)  # by default loopwright train

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return shlex.split(value)
        except ValueError as error:  # a quote that is not closed
            raise ValueError(f"{value!r}: {error}. As a list of words nothing needs quotes") from None

    @model_validator(mode="after")
    def _fits(self) -> "StudySettings":
        mistakes = []
        if self.method == "grid" and self.trials is not None:
            mistakes.append("trials: a grid tries every combination: leave it out, or use method: random")
        try:
            direction_of(self.metric, self.mode)
        except ValueError:
            mistakes.append(f"metric: is more of {self.metric!r} better, or less? Add mode: max or mode: min")
        if self.method == "tpe":
            require_optuna("study.method: tpe")
        if mistakes:
            raise ConfigError("\n".join(mistakes))
        return self

    @property
    def direction(self) -> Literal["min", "max"]:
        return direction_of(self.metric, self.mode)
