"""One training step of a trial, from its batches to its loss as a number: of a model, or a function of somebody's own.

Knows nothing of learning rates.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ._device import Compute
from ._errors import ConfigError
from ._fit import own_loss, split_batch
from ._stepper import Stepper
from ._trial_ranks import TrialRanks
from .data._source import Batch
from .optim._lbfgs import lay_out_gradients


class TrialStep(Protocol):
    """What a trial repeats."""

    def begin(self) -> None:
        """Whatever a trial needs before its first step."""
        ...

    def __call__(self, batches: Sequence[Batch]) -> float:
        """Train on the batches of one step; the mean of their losses, weighted by their samples, over all ranks."""
        ...


class ModelStep:
    """A model and its loss: forward, backward, clip, step, for as many batches as make a step.

    An optimizer whose ``step`` needs a closure (LBFGS) gets one, and the loss is that of its first evaluation.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss: Callable[..., Tensor] | None,
        compute: Compute,
        clip: float | None,
        ranks: TrialRanks,
    ) -> None:
        self._optimizer, self._loss = optimizer, loss
        self._compute, self._clip, self._ranks = compute, clip, ranks
        self._takes_closure = needs_closure(optimizer)
        if self._takes_closure and compute.precision == "fp16":
            raise ConfigError(
                f"{type(optimizer).__name__} evaluates the loss several times a step, which a scaler of fp16 gradients "
                "cannot follow: use precision='bf16' or 'fp32'"
            )
        self._given, self._model = model, ranks.parallel.wrap(model, compute.device)

    def begin(self) -> None:
        if not self._given.training:  # else layers in evaluation mode are meant to be, such as frozen batch norm
            self._model.train()
        fp16 = self._compute.precision == "fp16"
        scaler = torch.amp.GradScaler(self._compute.device.type) if fp16 else None
        self._stepper = Stepper(self._optimizer, scaler, parallel=self._ranks.parallel)

    def __call__(self, batches: Sequence[Batch]) -> float:
        return self._by_closure(batches) if self._takes_closure else self._at_once(batches)

    def validate(self, batches: Sequence[Batch]) -> float:
        """The mean loss over the batches in evaluation mode, which is left again."""
        self._ranks.parallel.same_buffers([self._model])
        modules = [self._model, *([self._loss] if isinstance(self._loss, nn.Module) else [])]
        training = [layer for module in modules for layer in module.modules() if layer.training]
        for module in modules:
            module.eval()
        with torch.no_grad():
            mean = self._ranks.mean([(as_number(self.loss(batch.data)), batch.samples) for batch in batches])
        for layer in training:
            layer.training = True
        return mean

    def loss(self, batch: Any) -> Tensor:
        with self._compute.autocast():
            return batch_loss(self._model, batch, self._loss)

    def _at_once(self, batches: Sequence[Batch]) -> float:
        losses = []
        for number, batch in enumerate(batches, 1):
            self._ranks.parallel.begin_batch(batch.samples, batch.whole, reduces=number == len(batches))
            loss = self.loss(batch.data)
            losses.append((self._ranks.mean([(as_number(loss), batch.samples)]), batch.whole))
            if not math.isfinite(losses[-1][0]):  # no step is made with it
                return losses[-1][0]
            self._stepper.add(loss, batch.samples, self._clip, None, whole=batch.whole)
        self._stepper.step()
        return weighted_mean(losses)

    def _by_closure(self, batches: Sequence[Batch]) -> float:
        evaluations: list[float] = []
        whole, parallel = sum(batch.whole for batch in batches), self._ranks.parallel

        def closure() -> Tensor:
            self._optimizer.zero_grad()
            losses = []
            for number, batch in enumerate(batches, 1):
                parallel.begin_batch(batch.samples, batch.whole, reduces=number == len(batches))
                loss = self.loss(batch.data)
                with parallel.weighed():
                    (loss * (parallel.share(batch.samples, whole)[0] / whole)).backward()
                losses.append((as_number(loss), batch.samples))
            lay_out_gradients(self._model.parameters())
            if self._clip is not None:
                nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)
            evaluations.append(self._ranks.mean(losses))
            return torch.tensor(evaluations[-1])

        self._optimizer.step(closure)  # type: ignore[arg-type] - torch says float, its optimizers take a tensor
        self._optimizer.zero_grad()
        return evaluations[0]


class FunctionStep:
    """A function of somebody's own that does a whole step with a batch and returns the loss."""

    def __init__(self, function: Callable[[Any], Any], ranks: TrialRanks) -> None:
        self._function, self._ranks = function, ranks

    def begin(self) -> None:
        pass

    def __call__(self, batches: Sequence[Batch]) -> float:
        losses = []
        for batch in batches:
            loss = as_number(self._function(batch.data))
            losses.append((self._ranks.mean([(loss, batch.samples)]), batch.whole))
            if not math.isfinite(losses[-1][0]):
                return losses[-1][0]
        return weighted_mean(losses)


def batch_loss(model: nn.Module, batch: Any, loss: Callable[..., Tensor] | None) -> Tensor:
    """The loss of a batch: ``loss(model(*inputs), target)`` of a tuple that ends in its target, ``loss(model(batch),
    batch)`` of a tensor; without a loss the one that the model returns, of any batch."""
    if loss is None:
        return own_loss(model, batch)
    inputs, target = split_batch(batch)
    return loss(model(*inputs), target)


def as_number(loss: Any) -> float:
    """A loss as a Python number; of a mapping its ``"loss"``."""
    if isinstance(loss, Mapping) and "loss" in loss:
        loss = loss["loss"]
    if isinstance(loss, Tensor) and loss.numel() == 1:
        return float(loss.detach())
    if isinstance(loss, int | float):
        return float(loss)
    what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
    raise ConfigError(f"a step gives its loss as one number, for example 'return loss'; this one gave {what}")


def weighted_mean(values: Sequence[tuple[float, int]]) -> float:
    """The mean of numbers with weights; of one number the number itself."""
    if len(values) == 1:
        return values[0][0]
    return sum(value * weight for value, weight in values) / sum(weight for _, weight in values)


def needs_closure(optimizer: Optimizer) -> bool:
    """Whether its step cannot do without one, as that of LBFGS."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is closure.empty
