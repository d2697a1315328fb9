"""``Schedule``: a scheduler of torch's behind a linear warm-up, which knows whether it is stepped by steps or epochs.

Knows nothing about names and lengths of training; ``_schedulers`` finds these.
"""

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor
from torch.optim import Optimizer

Per = Literal["step", "epoch"]


class Schedule:
    """In the k-th of n warm-up steps the rate is k / (n + 1) of where the scheduler begins; then it is the scheduler's.

    Args:
        scheduler: newly made, so that its optimizer has the rates that it begins with.
        optimizer: the scheduler's.
        per: what it is stepped with; a step of the warm-up is one of these.
        warmup: how many steps, 0 or more.
        length: of warm-up and scheduler together, if known.
    """

    def __init__(
        self, scheduler: Any, optimizer: Optimizer, *, per: Per, warmup: int = 0, length: int | None = None
    ) -> None:
        self.per: Per = per
        self.after, self.warmup = scheduler, warmup
        self.total_steps = length  # a schedule that has begun cannot be stretched: compared when it is resumed
        self._optimizer, self._done = optimizer, 0
        self._starts = [float(group["lr"]) for group in optimizer.param_groups]
        if warmup:
            self._warm()

    def step(self, *metric: Any) -> None:
        """The next rate; ``metric`` is for the plateau scheduler, and does not matter during the warm-up."""
        if self._done >= self.warmup:
            self.after.step(*metric)
            return
        self._done += 1
        self._warm()

    def get_last_lr(self) -> list[float]:
        return [float(group["lr"]) for group in self._optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        return {
            "done": self._done, "warmup": self.warmup, "starts": self._starts, "total_steps": self.total_steps,
            "after": self.after.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["warmup"] != self.warmup:
            raise ValueError(
                f"it was made for a warm-up of {state['warmup']} {self.per}s, and is now for {self.warmup}"
            )
        self._done, self._starts = state["done"], list(state["starts"])
        self.after.load_state_dict(state["after"])

    def _warm(self) -> None:
        share = (self._done + 1) / (self.warmup + 1)
        for group, start in zip(self._optimizer.param_groups, self._starts, strict=True):
            rate = start if share == 1 else start * share
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
