"""``Watch``: whether the numbers of training are finite, and what is done where they are not. Owns no loop and no screen."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from torch import Tensor

from ._cursor import Cursor
from ._errors import ConfigError, NonFiniteError
from ._spikes import Spike, Spikes

Policy = Literal["stop", "skip", "lower_scale", "log"]
MOST_IN_A_ROW = 50  # steps left out, after which nothing will come of it
SMALLEST_SCALE = 2.0**-14  # of fp16's losses: a gradient that overflows at it is no matter of scale
ADVICE = "lower the learning rate, clip gradients with run.step(..., clip=1.0), or choose another nonfinite="


class Watch:
    """Judges each loss and gradient, and hears of every logged value when it is read.

    Args:
        policy: ``"stop"``, ``"skip"`` (the step is left out), ``"lower_scale"`` (fp16: it is left out and the scale of the
            losses halved) or ``"log"`` (nothing is done).
        blame: names what is not finite among the gradients.
        hurry: makes the next boundary look.
    """

    def __init__(
        self,
        policy: Policy,
        cursor: Cursor,
        *,
        blame: Callable[[], str] = str,
        hurry: Callable[[], object] = lambda: None,
    ) -> None:
        self.policy, self._cursor, self._blame, self._hurry = policy, cursor, blame, hurry
        self.left_out: dict[int, str] = {}  # step -> why, since values were last read
        self.told: list[tuple[int, str]] = []  # of those the ones that nobody has been told of
        self.spikes: list[Spike] = []  # the same of spikes
        self._spikes: dict[str, Spikes] = {}
        self._in_a_row = 0
        self.alarmed = False  # whether a value that is not finite was logged, where that shows at once
        self._first: tuple[int, str, float] | None = None  # the first value that is not finite, and was not left out

    # ---- before a step ---------------------------------------------------------------------------------------------

    @property
    def looks(self) -> bool:
        """Whether gradients have to be looked at."""
        return self.policy != "log"

    @property
    def leaves_out(self) -> bool:
        """Whether a step may be left out, which takes waiting for the device."""
        return self.policy in ("skip", "lower_scale")

    def takes(self, loss: Tensor) -> bool:
        """Whether a batch shall count, by its loss.

        Raises:
            NonFiniteError: by the policy ``"stop"``, where asking costs no waiting.
        """
        if self.policy == "log" or not (self.leaves_out or loss.is_cpu) or bool(loss.detach().isfinite().all()):
            return True
        what = f"its loss is {loss.detach().float().mean().item()}"
        if not self.leaves_out:
            self._raise(self._cursor.step, f"{what}; the weights are those of before")
        self._leave_out(what)
        return False

    def allows(self, norm: Tensor) -> bool:
        """Whether to step, by the norm of the whole gradient.

        Raises:
            NonFiniteError: by the policy ``"stop"``, where asking costs no waiting; else it is seen when the norm is read.
        """
        if self.policy == "log" or not (self.leaves_out or norm.is_cpu):
            return True
        if math.isfinite(norm.item()):
            self._in_a_row = 0
            return True
        what = f"the gradient {self._blame()} is not finite"
        if not self.leaves_out:
            self._raise(self._cursor.step, f"{what}; the weights are those of before")
        self._leave_out(what)
        return False

    def overflowed(self, scale: float) -> None:
        """fp16: the scaler left a step out, which is how it finds its scale, and has lowered it to this.

        Raises:
            NonFiniteError: the scale cannot be what is wrong.
        """
        if scale < SMALLEST_SCALE:
            self._raise(self._cursor.step, f"the gradient overflows at the scale {scale:g} too")
        if self.leaves_out:
            self._leave_out(f"its gradient overflowed; the scale is {scale:g} now")

    def _leave_out(self, why: str) -> None:
        step = self._cursor.step
        self._in_a_row += 1
        if self._in_a_row > MOST_IN_A_ROW:
            self._raise(step, f"{MOST_IN_A_ROW} steps in a row were left out, and {why} again")
        if step not in self.left_out:
            self.told.append((step, why))
        self.left_out[step] = why
        self._hurry()

    # ---- when values are read --------------------------------------------------------------------------------------

    def alarm(self) -> None:
        """A value that is not finite was logged."""
        if self.policy != "log":
            self.alarmed = True
            self._hurry()

    def hear(self, name: str, steps: Sequence[int], values: Sequence[float]) -> list[bool] | None:
        """Take what was logged under a name; which of it counts, None for all."""
        finite, counts = math.isfinite(sum(values)), None
        if not finite:
            counts = [math.isfinite(v) or s not in self.left_out for s, v in zip(steps, values, strict=True)]
        if is_loss(name):
            if not finite:
                self._note(name, steps, values)
            if name not in self._spikes:
                self._spikes[name] = Spikes(name)
            self.spikes += self._spikes[name].add(steps, values)
        return counts

    def _note(self, name: str, steps: Sequence[int], values: Sequence[float]) -> None:
        for step, value in zip(steps, values, strict=True):
            if not math.isfinite(value) and step not in self.left_out:
                if self._first is None or step < self._first[0]:
                    self._first = step, name, value
                return

    def check(self) -> None:
        """After everything was read: raise ``NonFiniteError`` with the first step at which a value is not finite."""
        self.alarmed = False
        self.left_out = {step: why for step, why in self.left_out.items() if step >= self._cursor.step}
        if self._first is not None and self.policy != "log":
            step, name, value = self._first
            self._raise(step, f"{name} is {value}")

    def take_left_out(self) -> list[tuple[int, str]]:
        """The steps that were left out since the last call, and why."""
        told, self.told = self.told, []
        return told

    def take_spikes(self) -> list[Spike]:
        """The spikes among the values that were read since the last call."""
        spikes, self.spikes = self.spikes, []
        return spikes

    def _raise(self, step: int, what: str) -> None:
        raise NonFiniteError(f"step {step}: {what}. To go on, {ADVICE}", step=step)

    def state_dict(self) -> dict[str, Any]:
        return {
            "in_a_row": self._in_a_row,
            "spikes": {name: spikes.state_dict() for name, spikes in self._spikes.items()},
            "news": [[list(item) for item in self.told], [list(spike) for spike in self.spikes]],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._in_a_row = state["in_a_row"]
        for name, spikes in state["spikes"].items():
            self._spikes[name] = Spikes(name)
            self._spikes[name].load_state_dict(spikes)
        told, spikes = state["news"]
        self.told, self.spikes = [(step, why) for step, why in told], [Spike(*spike) for spike in spikes]


def is_loss(name: str) -> bool:
    """Whether a logged value must be finite: other metrics, such as the PSNR of equal pictures, need not be."""
    return "loss" in name or name.endswith("grad_norm")


def check_policy(policy: Any, precision: str) -> Policy:
    """``ConfigError`` for one that there is not, or that does not go with the precision."""
    if policy not in get_args(Policy):
        raise ConfigError(f"nonfinite must be one of {', '.join(map(repr, get_args(Policy)))}. Found: {policy!r}")
    if policy == "lower_scale" and precision != "fp16":
        raise ConfigError(
            f"nonfinite='lower_scale' is for precision='fp16', whose losses are scaled; this is {precision}: there 'skip' "
            "leaves a step out"
        )
    return policy
