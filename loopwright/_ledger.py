"""``Ledger``: what was measured, when, and the lines of metrics.jsonl. Knows nothing of loops, models or screens.

A report of several ranks is written when the sums of all are there, and nobody waits for them but who needs them; what
comes after it is written after it.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ._distributed import Ranks
from ._errors import ConfigError, NonFiniteError
from ._files import JsonLines
from ._meters import Means, Meters, merged
from ._watch import Watch


class Ledger:
    """Means of the training phase and of the evaluation that is going on, and the last value of every name."""

    def __init__(self, lines: JsonLines, watch: Watch, ranks: Ranks) -> None:
        self._lines, self._watch, self._ranks = lines, watch, ranks
        self._training = Meters(takes_objects=False, hear=self._hear, alarm=watch.alarm, ranks=ranks)
        self.meters = self._training  # of the present phase
        self._phase = ""  # the evaluation that is going on
        self._measured: dict[str, tuple[int, float]] = {}  # name -> (step, value)
        self.shown: dict[str, float] = {}  # what was reported last
        self._report: _Report | None = None  # that is not written yet
        self._behind: list[dict[str, Any]] = []  # lines that come after it

    def report(self, step: int, epoch: int, rates: Mapping[str, float]) -> None:
        """Write the means since the last report, as soon as they are there."""
        self.settle()
        self._report = _Report(step, epoch, self._training.interval(), rates)
        self.look()
        with self._settled_where_it_fails():
            self._watch.check()

    def look(self) -> None:
        """Write the report that is not written yet, if that waits for nobody."""
        if self._report is not None and self._report.means.are_here:
            self.settle()

    def settle(self) -> None:
        """Write the report that is not written yet."""
        if self._report is None:
            return
        (step, epoch, means, rates), self._report = self._report, None
        behind, self._behind = self._behind, []
        self.shown = {**_prefixed("train", means.read()), **rates}
        self._write("steps", step, epoch, self.shown)
        for line in behind:
            self._lines.append(line)

    def close(self) -> None:
        """Write what is left, but for a report of ranks who may be gone."""
        with contextlib.suppress(RuntimeError):
            self.look()
        for line in self._behind:
            self._lines.append(line)

    @contextlib.contextmanager
    def _settled_where_it_fails(self) -> Iterator[None]:
        """What led to an error is to be read in the record."""
        try:
            yield
        except NonFiniteError:
            with contextlib.suppress(RuntimeError):  # of the line to ranks that are gone
                self.settle()
            raise

    def end_epoch(self, step: int, epoch: int) -> None:
        """Write the means, deviations and extremes of the epoch's training."""
        means, spread = (_prefixed("train", values) for values in self._training.close())
        self._measured |= {name: (step, value) for name, value in means.items()}
        self._write("epoch", step, epoch, means | spread)
        self._watch.check()

    def check_finite(self) -> None:
        """Before a checkpoint: weights that a NaN went through must not push out the last good ones."""
        self._training.read()
        with self._settled_where_it_fails():
            self._watch.check()

    def note(self, kind: str, step: int, epoch: int, **facts: Any) -> None:
        """Write a line about something that is no mean."""
        line = {"kind": kind, "step": step, "epoch": epoch, **facts}
        self._lines.append(line) if self._report is None else self._behind.append(line)

    def begin_evaluation(self, name: str) -> None:
        self._phase, self.meters = name, Meters(takes_objects=True, ranks=self._ranks)

    def end_evaluation(self, step: int, epoch: int) -> None:
        """Write the means of the evaluation."""
        values = _prefixed(self._phase, self.meters.close()[0])
        self._measured |= {name: (step, value) for name, value in values.items()}
        self._write("evaluation", step, epoch, values)

    def leave_evaluation(self) -> None:
        self.meters = self._training

    def peek(self) -> dict[str, float]:
        """Means of the present phase so far, of this rank. Waits for the device."""
        return self.meters.peek()

    def pending(self) -> dict[str, list[float]]:
        """What was logged in training since values were last read."""
        return self._training.pending()

    def measured_at(self, step: int) -> dict[str, float]:
        """What was measured at a step: means by name."""
        return {name: value for name, (at, value) in self._measured.items() if at == step}

    def value_at(self, metric: str, step: int, asked_by: str) -> float:
        """A value that was measured at this very step, or the running mean of a training value.

        Raises ``ConfigError`` for an older one, or none.
        """
        if metric not in self._measured or self._measured[metric][0] != step:
            running = _prefixed("train", self._training.so_far())
            if metric in running:  # the mean over the epoch so far
                return running[metric]
        at, value = self._measured.get(metric, (None, math.nan))
        if at is None:
            names = ", ".join(self._measured) or "nothing yet"
            raise ConfigError(f"{asked_by}({metric!r}): nothing was logged under that name. Measured: {names}")
        if at != step:
            raise ConfigError(
                f"{asked_by}({metric!r}): it was measured at step {at} and the weights are those of step {step}: "
                "evaluate again first"
            )
        return value

    def last_value(self, metric: str) -> float:
        """The newest value of a name, whenever it was measured; NaN if never."""
        return self._measured.get(metric, (0, math.nan))[1]

    def state_dict(self) -> dict[str, Any]:
        """Of what is written: a checkpoint and the record are those of the same moment."""
        self.settle()
        return {"training": self._training.state_dict(), "measured": {k: list(v) for k, v in self._measured.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._training.load_state_dict(state["training"])
        self._measured = {name: (step, value) for name, (step, value) in state["measured"].items()}

    @staticmethod
    def merge(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The states of several ranks as that of one; what was measured is the same on all."""
        return {"training": merged([state["training"] for state in states]), "measured": states[0]["measured"]}

    @staticmethod
    def blank(state: Mapping[str, Any]) -> dict[str, Any]:
        """The state of a rank whose sums another one has."""
        return {"training": {}, "measured": state["measured"]}

    def _write(self, kind: str, step: int, epoch: int, values: Mapping[str, float]) -> None:
        self.settle()
        if values:
            self._lines.append({"kind": kind, "step": step, "epoch": epoch, **values})

    def _hear(self, name: str, steps: Sequence[int], values: Sequence[float]) -> Sequence[bool] | None:
        return self._watch.hear(f"train/{name}", steps, values)


class _Report(NamedTuple):
    step: int
    epoch: int
    means: Means
    rates: Mapping[str, float]


def _prefixed(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in values.items()}
