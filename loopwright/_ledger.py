"""``Ledger``: what was measured, when, and the lines of metrics.jsonl. Knows nothing of loops, models or screens."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ._errors import ConfigError
from ._files import JsonLines
from ._meters import Meters, merged
from ._watch import Watch


class Ledger:
    """Means of the training phase and of the evaluation that is going on, and the last value of every name."""

    def __init__(self, lines: JsonLines, watch: Watch, gather: Callable[[Any], list[Any]]) -> None:
        self._lines, self._watch, self._gather = lines, watch, gather
        self._training = Meters(takes_objects=False, hear=self._hear, alarm=watch.alarm, gather=gather)
        self.meters = self._training  # of the present phase
        self._phase = ""  # the evaluation that is going on
        self._measured: dict[str, tuple[int, float]] = {}  # name -> (step, value)
        self.shown: dict[str, float] = {}  # what was reported last

    def report(self, step: int, epoch: int, rates: Mapping[str, float]) -> None:
        """Write the means since the last report."""
        means = _prefixed("train", self._training.interval())
        self.shown = {**means, **rates}
        self._write("steps", step, epoch, self.shown)
        self._watch.check()

    def end_epoch(self, step: int, epoch: int) -> None:
        """Write the means, deviations and extremes of the epoch's training."""
        means, spread = (_prefixed("train", values) for values in self._training.close())
        self._measured |= {name: (step, value) for name, value in means.items()}
        self._write("epoch", step, epoch, means | spread)
        self._watch.check()

    def check_finite(self) -> None:
        """Before a checkpoint: weights that a NaN went through must not push out the last good ones."""
        self._training.read()
        self._watch.check()

    def note(self, kind: str, step: int, epoch: int, **facts: Any) -> None:
        """Write a line about something that is no mean."""
        self._lines.append({"kind": kind, "step": step, "epoch": epoch, **facts})

    def begin_evaluation(self, name: str) -> None:
        self._phase, self.meters = name, Meters(takes_objects=True, gather=self._gather)

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
        if values:
            self._lines.append({"kind": kind, "step": step, "epoch": epoch, **values})

    def _hear(self, name: str, steps: Sequence[int], values: Sequence[float]) -> Sequence[bool] | None:
        return self._watch.hear(f"train/{name}", steps, values)


def _prefixed(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in values.items()}
