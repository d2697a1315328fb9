"""Scale, accumulate, clip, step: what stands between a loss and new weights. Knows nothing about loops or data."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ._cursor import Cursor
from ._parallel import NotParallel, Parallel
from ._watch import Watch


class Stepper:
    """Steps one optimizer every few batches.

    The gradient of a group of batches is that of the mean loss over all of the group's samples: each batch weighs as
    many samples as it has, so a short one weighs less. Weights are relative to the group's first batch, which keeps
    fp16 losses small and leaves equal batches exactly as they are.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        scaler: torch.amp.GradScaler | None,
        watch: Watch | None = None,
        parallel: Parallel | None = None,
    ) -> None:
        self._optimizer, self._scaler, self._watch = optimizer, scaler, watch or Watch("log", Cursor())
        self._parallel = parallel or NotParallel()
        self.accumulate = 1  # batches a step, as asked for last
        self._batches = self._first = self._samples = 0
        self._clip: float | None = None
        self._scheduler: Any = None
        self._scale: float | None = None  # fp16's, after the last step
        self.norm: Tensor | None = None  # of the last step's gradient, before clipping

    def add(
        self,
        loss: Tensor,
        samples: int,
        clip: float | None,
        scheduler: Any,
        *,
        whole: int | None = None,
        accumulate: int = 1,
    ) -> None:
        """Add the gradient of one batch's mean loss: over ``samples`` of its ``whole`` ones, those of this rank."""
        own, whole = self._parallel.share(samples, samples if whole is None else whole)
        self._clip, self._scheduler, self.accumulate = clip, scheduler, accumulate
        if not self._samples:
            self._first = whole
        self._batches += 1
        together = (
            self._parallel.together and self._watch.leaves_out
        )  # the gradient decides: it is the same on all ranks
        if not together and not self._watch.takes(loss):
            return
        self._samples += whole
        if own != self._first:
            loss = loss * (own / self._first)
        with self._parallel.weighed():
            (self._scaler.scale(loss) if self._scaler else loss).backward()

    @property
    def batches(self) -> int:
        """How many batches were added since the last step."""
        return self._batches

    def step(self) -> bool:
        """Step with the gathered gradients and clear them; False where the step was left out."""
        stepped = self._samples > 0 and self._take()
        self._optimizer.zero_grad()
        if self._scheduler is not None:
            self._optimizer._opt_called = True  # type: ignore[attr-defined] - also where the step was left out
            self._scheduler.step()
        self._batches = self._samples = self._first = 0
        return stepped

    def _take(self) -> bool:
        parameters = [p for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self._scaler:
            self._scaler.unscale_(self._optimizer)
        if self._samples != self._first and parameters:
            torch._foreach_div_(  # type: ignore[reportPrivateImportUsage] - what torch's optimizers use
                self._parallel.gradients(parameters), self._samples / self._first
            )
        self.norm = self._clipped(parameters)
        if self._scaler:
            return self._step_scaled(self._scaler)
        if self.norm is not None and not self._watch.allows(self.norm):
            return False
        self._optimizer.step()
        return True

    def _clipped(self, parameters: list[Tensor]) -> Tensor | None:
        """The norm of the whole gradient, where anybody wants to know; clipped where that was asked for."""
        if not self._watch.looks and self._clip is None:
            return None
        norm = self._parallel.norm(parameters)
        if self._clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, self._clip, norm)
        return norm

    def _step_scaled(self, scaler: torch.amp.GradScaler) -> bool:
        """Whether fp16's scaler stepped: it leaves out a gradient that overflowed, and lowers its scale."""
        before = scaler.get_scale() if self._scale is None else self._scale
        scaler.step(self._optimizer)
        scaler.update()
        self._scale = scaler.get_scale()  # waits for the device, as the scaler itself has just done
        if self._scale >= before:
            return True
        self._watch.overflowed(self._scale)
        return False

    def state_dict(self) -> dict[str, Any]:
        """How far the group is; its gradients are saved with the model's parameters."""
        group = {"batches": self._batches, "first": self._first, "samples": self._samples, "clip": self._clip}
        group["accumulate"] = self.accumulate
        return group | {"scaler": self._scaler.state_dict() if self._scaler else {}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._batches, self._first, self._samples = state["batches"], state["first"], state["samples"]
        self._clip, self.accumulate = state["clip"], state.get("accumulate", 1)
        self._scale = None
        if self._scaler and state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])


class Steppers:
    """One stepper for each registered optimizer, by its name."""

    def __init__(self, watch: Watch, parallel: Parallel) -> None:
        self._steppers: dict[str, Stepper] = {}
        self._watch, self._parallel = watch, parallel
        self._knows_last = False

    def add(self, name: str, optimizer: Optimizer, scaler: torch.amp.GradScaler | None) -> None:
        self._steppers[name] = Stepper(optimizer, scaler, self._watch, self._parallel)

    def begin_loop(self, knows_last: bool) -> None:
        """A loop over batches begins; whether its last batch is known to be that."""
        self._knows_last = knows_last

    def begin_batch(self, samples: int, whole: int, *, last: bool) -> None:
        """A batch goes to the loop. Between ranks gradients are reduced where a group of batches ends."""
        if not self._parallel.together:  # the hot loop of one process: nothing is reduced
            return
        steppers = list(self._steppers.values())
        ends = last or not self._knows_last or len(steppers) != 1 or steppers[0].batches + 1 >= steppers[0].accumulate
        self._parallel.begin_batch(samples, whole, reduces=ends)

    def __getitem__(self, name: str) -> Stepper:
        return self._steppers[name]

    def finish(self, models: Iterable[nn.Module]) -> None:
        """Step the groups that are short because their loop has ended."""
        self._parallel.reduce(models)
        for stepper in self._steppers.values():
            if stepper.batches:
                stepper.step()

    def state_dict(self) -> dict[str, Any]:
        return {name: stepper.state_dict() for name, stepper in self._steppers.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, stepper in self._steppers.items():
            stepper.load_state_dict(state[name])
