"""Scale, accumulate, clip, step: what stands between a loss and new weights. Knows nothing about loops or data."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Stepper:
    """Steps one optimizer every few batches.

    The gradient of a group of batches is that of the mean loss over all of the group's samples: each batch weighs as
    many samples as it has, so a short one weighs less. Weights are relative to the group's first batch, which keeps
    fp16 losses small and leaves equal batches exactly as they are.
    """

    def __init__(self, optimizer: Optimizer, scaler: torch.amp.GradScaler | None) -> None:
        self._optimizer, self._scaler = optimizer, scaler
        self._batches = self._first = self._samples = 0
        self._clip: float | None = None
        self._scheduler: Any = None

    def add(self, loss: Tensor, samples: int, clip: float | None, scheduler: Any) -> None:
        """Add the gradient of one batch's mean loss."""
        self._clip, self._scheduler = clip, scheduler
        if not self._batches:
            self._first = samples
        self._batches += 1
        self._samples += samples
        if samples != self._first:
            loss = loss * (samples / self._first)
        (self._scaler.scale(loss) if self._scaler else loss).backward()

    @property
    def batches(self) -> int:
        """How many batches were added since the last step."""
        return self._batches

    def step(self) -> None:
        """Step with the gathered gradients and clear them."""
        parameters = [p for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self._scaler:
            self._scaler.unscale_(self._optimizer)
        if self._samples != self._first and parameters:
            torch._foreach_div_(  # type: ignore[reportPrivateImportUsage] - what torch's optimizers use
                [p.grad for p in parameters], self._samples / self._first
            )
        if self._clip is not None:
            nn.utils.clip_grad_norm_(parameters, self._clip)
        if self._scaler:
            self._scaler.step(self._optimizer)
            self._scaler.update()
        else:
            self._optimizer.step()
        self._optimizer.zero_grad()
        if self._scheduler is not None:
            self._scheduler.step()
        self._batches = self._samples = self._first = 0

    def state_dict(self) -> dict[str, Any]:
        """How far the group is; its gradients are saved with the model's parameters."""
        group = {"batches": self._batches, "first": self._first, "samples": self._samples, "clip": self._clip}
        return group | {"scaler": self._scaler.state_dict() if self._scaler else {}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._batches, self._first, self._samples = state["batches"], state["first"], state["samples"]
        self._clip = state["clip"]
        if self._scaler and state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])


class Steppers:
    """One stepper for each registered optimizer, by its name."""

    def __init__(self) -> None:
        self._steppers: dict[str, Stepper] = {}

    def add(self, name: str, optimizer: Optimizer, scaler: torch.amp.GradScaler | None) -> None:
        self._steppers[name] = Stepper(optimizer, scaler)

    def __getitem__(self, name: str) -> Stepper:
        return self._steppers[name]

    def finish(self) -> None:
        """Step the groups that are short because their loop has ended."""
        for stepper in self._steppers.values():
            if stepper.batches:
                stepper.step()

    def state_dict(self) -> dict[str, Any]:
        return {name: stepper.state_dict() for name, stepper in self._steppers.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, stepper in self._steppers.items():
            stepper.load_state_dict(state[name])
