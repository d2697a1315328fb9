"""``Tracker``: whom a mirror hands a run's record over to. Knows nothing of files, threads and processes.

The record is the truth, a tracker shows it elsewhere: whatever a tracker does, or does not do, training stays the same.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._errors import MissingExtra


@dataclass(frozen=True)
class RunFacts:
    """What a tracker is told of a run before anything else."""

    folder: Path
    id: str  # the same for all lives of the run
    name: str  # of its folder
    parameters: Mapping[str, str]  # its configuration, flat: "optimizer.lr" -> "0.003"
    config: Mapping[str, Any]  # the same as it was written, nested
    tags: Mapping[str, str]  # commit, branch, host, seed, command, ...
    kept: Mapping[str, Any] = field(default_factory=dict)  # what ``Tracker.kept`` gave last; empty the first time
    replaces: Mapping[str, Any] = field(default_factory=dict)  # the same of what stands there and is the record no more


@dataclass(frozen=True)
class Scalars:
    """The numbers of one line of metrics.jsonl.

    Means over a whole epoch of training are named ``epoch/train/loss``, those since the last report ``train/loss``.
    """

    line: int  # its number in the record, 1 first
    step: int
    epoch: int
    time: float  # seconds since 1970 when it was read; the same should it be handed over twice
    values: Mapping[str, float]


@dataclass(frozen=True)
class Picture:
    """One line of pictures.jsonl: a picture that the run logged."""

    line: int
    step: int
    epoch: int
    time: float
    name: str  # "val/samples"
    path: Path
    captions: Sequence[str] = ()


@dataclass(frozen=True)
class Histogram:
    """How the numbers of a parameter or of its gradient are spread, at one step."""

    line: int
    step: int
    epoch: int
    time: float
    name: str  # "gradients/fc.weight"
    low: float  # of the finite numbers
    high: float
    counts: Sequence[int]  # in bins of the same width from low to high
    mean: float
    std: float


class Lost(Exception):
    """Raised by ``Tracker.open``: what ``facts.kept`` names is not there any more. The tracker gets the whole record."""


class Tracker:
    """The base of all trackers; a method that is not your own does nothing.

    Its methods are called beside the training loop, one at a time. What they raise is told to the user once, and tried
    again later with the same arguments; one that never returns is left behind when the run ends.

    Attributes:
        name: of its place in the run's folder, ``mirrors/NAME.json``, and in messages.
        patience: seconds that the end of a run waits for it.
        watch: a span such as ``"500 steps"`` asks the run for histograms of gradients and parameters that often.

    >>> class Printer(Tracker):
    ...     name = "printer"
    ...     def scalars(self, batch):
    ...         for line in batch:
    ...             print(line.step, dict(line.values))
    >>> Printer().scalars([Scalars(1, step=50, epoch=0, time=0.0, values={"train/loss": 0.5})])
    50 {'train/loss': 0.5}
    """

    name: str = "tracker"
    patience: float = 30.0
    watch: str | None = None
    package: str = ""  # that it needs
    in_process: bool = False  # it is made anew, of its settings, in a process of its own

    def open(self, facts: RunFacts) -> None:
        """A run begins or goes on. Called again where what stands in the tracker is not the record any more."""

    def scalars(self, batch: Sequence[Scalars]) -> None:
        """Some lines of the record, in its order; after a kill perhaps the very same ones again."""

    def picture(self, picture: Picture) -> None:
        """A picture that the run logged."""

    def histograms(self, batch: Sequence[Histogram]) -> None:
        """Histograms of parameters and of their gradients."""

    def artifact(self, path: Path) -> None:
        """A file to keep with the run: its configuration, its log, its plots."""

    def kept(self) -> Mapping[str, Any]:
        """What the next life of this run shall find in ``facts.kept``: plain values. Asked for after each batch."""
        return {}

    def close(self, state: str) -> None:
        """The run ended: "finished", "failed", "stopped", or "killed"."""

    @property
    def target(self) -> str:
        """Where to, if that is not where this tracker goes by itself: two targets are two mirrors."""
        return ""

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments that make the same one in another process."""
        return {}


def is_installed(package: str) -> bool:
    """Whether a package could be imported; imports nothing."""
    return importlib.util.find_spec(package) is not None


def check_installed(tracker: Tracker) -> None:
    """``MissingExtra`` where the package that a tracker needs is not there; imports nothing."""
    if tracker.package and not is_installed(tracker.package):
        raise MissingExtra(tracker.package, f"the tracker {tracker.name}", tracker.name)
