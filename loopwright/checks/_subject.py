"""``Subject``: a model, its loss and its kind of batches, taken apart: inputs, targets, outputs, the loss of any output.

Knows nothing about what is checked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._errors import ConfigError
from .._fit import own_loss, split_batch
from .._nested import leaves, map_nested
from ._feed import samples_of, tensors_of
from ._verdict import CannotLook

TARGET_NAMES = {
    "label", "labels", "target", "targets", "y", "truth", "clean", "mask", "masks", "start_positions", "end_positions",
}  # fmt: skip


_KNOWN: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    F.cross_entropy, F.nll_loss, F.binary_cross_entropy_with_logits, F.mse_loss, F.l1_loss, F.smooth_l1_loss,
)  # fmt: skip


@dataclass(frozen=True)
class Pass:
    """One forward pass: the loss, and what the model itself returned, where that is one value or more a sample."""

    loss: Tensor
    output: Tensor | None
    given: list[Tensor]  # what the model was called with


@dataclass(frozen=True)
class FirstView:
    """What the first layer with parameters gets."""

    name: str
    layer: nn.Module
    tensor: Tensor


class Subject:
    """A model with the way to its loss.

    Args:
        model: in any mode; hooks that are put on it are taken off again.
        loss: ``loss(output, target)``, as ``fit`` takes it.
        compute: from (model, batch) to a loss, or to values with ``"loss"``.
        batch: one batch, by which it learns what are inputs and what are targets.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Tensor] | None,
        compute: Callable[[nn.Module, Any], Tensor | Mapping[str, Any]] | None,
        batch: Any,
    ) -> None:
        self.model, self._loss, self._compute = model, loss, compute
        self.own_loss = loss is None and compute is None
        self._blind = False
        self._equal: Callable[[Tensor, Tensor], Tensor] | None = None
        self._inputs, self._targets = self._roles(batch)

    # ---- computing -------------------------------------------------------------------------------------------------

    def run(self, batch: Any) -> Pass:
        """Forward, in whatever mode the model is."""
        with _recorded(self.model) as record:
            loss = self.loss(batch)
        return Pass(loss, _main_output(record.result, samples_of(batch)), list(leaves(list(record.arguments), Tensor)))

    def loss(self, batch: Any) -> Tensor:
        """The loss of a batch, a tensor with a gradient: one number."""
        if self._blind and self.own_loss:
            batch = self.with_inputs(batch, _blinded)
        if self._compute is not None:
            found = self._compute(self.model, batch)
            value: Any = found["loss"] if isinstance(found, Mapping) else found
        elif self._loss is not None:
            inputs, target = split_batch(batch)
            value = self._loss(self.model(*inputs), target)
        else:
            value = own_loss(self.model, batch)
        return value if value.ndim == 0 else value.mean()

    def output(self, batch: Any) -> Tensor:
        """What the model returns for a batch; ``CannotLook`` where it returns nothing for each sample."""
        found = self.run(batch).output
        if found is None:
            raise CannotLook("the model returns no value for each sample, only its loss: let it return logits too")
        return found

    def loss_of(self, output: Tensor, batch: Any) -> Tensor:
        """The loss if the model had returned ``output``."""
        if self._compute is not None:
            found = self._compute(_Standing(self.model, output), batch)
            value: Any = found["loss"] if isinstance(found, Mapping) else found
        elif self._loss is not None:
            value = self._loss(output, split_batch(batch)[1])
        else:
            value = self._known(batch)(output, self.target(batch))
        return value if value.ndim == 0 else value.mean()

    def _known(self, batch: Any) -> Callable[[Tensor, Tensor], Tensor]:
        """Which of torch's losses a model computes itself: the one that gives the same number for the same output."""
        if self._equal is None:
            with torch.no_grad():
                done = self.run(batch)
            self._equal = _equal_loss(done, self.target(batch)) if done.output is not None else None
        if self._equal is None:
            raise CannotLook(
                "the model computes its own loss, which is none of torch's and cannot be asked for other outputs"
            )
        return self._equal

    def first_view(self, batch: Any) -> FirstView | None:
        """What the first layer that has parameters gets: what the network really sees."""
        seen: list[FirstView] = []

        def look(name: str) -> Callable[..., None]:
            def hook(layer: nn.Module, arguments: tuple[Any, ...]) -> None:
                if not seen and arguments and isinstance(arguments[0], Tensor):
                    seen.append(FirstView(name, layer, arguments[0].detach().clone()))

            return hook

        own = [(name, layer) for name, layer in self.model.named_modules() if list(layer.parameters(recurse=False))]
        hooks = [layer.register_forward_pre_hook(look(name)) for name, layer in own]
        try:
            with torch.no_grad():
                self.loss(batch)
        finally:
            for hook in hooks:
                hook.remove()
        return seen[0] if seen else None

    @contextmanager
    def blind(self) -> Iterator[None]:
        """The model gets zeros for its inputs, whatever the batch or ``compute`` would give it; targets stay."""
        self._blind = True
        hooks = [] if self.own_loss else [self.model.register_forward_pre_hook(_blinding, with_kwargs=True)]
        try:
            yield
        finally:
            self._blind = False
            for hook in hooks:
                hook.remove()

    # ---- parts of a batch ------------------------------------------------------------------------------------------

    def inputs(self, batch: Any) -> list[Tensor]:
        """The tensors that the model looks at."""
        return [tensor for number, tensor in enumerate(tensors_of(batch)) if number in self._inputs]

    def target(self, batch: Any) -> Tensor:
        """The one tensor that the loss compares with; ``CannotLook`` where there is none, or several."""
        found = [tensor for number, tensor in enumerate(tensors_of(batch)) if number in self._targets]
        if len(found) != 1:
            raise CannotLook(f"the batch has {len(found)} tensors that could be the target; one is looked at")
        return found[0]

    def with_inputs(self, batch: Any, function: Callable[[Tensor], Tensor]) -> Any:
        """The batch with other inputs."""
        numbers = count()
        return map_nested(lambda t: function(t) if next(numbers) in self._inputs else t, batch, Tensor)

    def _roles(self, batch: Any) -> tuple[set[int], set[int]]:
        tensors = tensors_of(batch)
        if not tensors:
            raise ConfigError(f"a batch is a {type(batch).__name__} that holds no tensor")
        if isinstance(batch, Tensor):
            return {0}, set() if self._loss is None else {0}
        given = self._passed(batch)
        named = _target_numbers(batch)
        if self._loss is not None:
            targets = named
        elif self._compute is not None and given and len(given) < len(tensors):
            targets = set(range(len(tensors))) - given
            inputs = given
            return inputs, (targets & named) or targets
        else:
            targets = named
        return set(range(len(tensors))) - targets, targets

    def _passed(self, batch: Any) -> set[int]:
        """Which tensors of the batch reach the model. It is the first time that anything is computed: errors are said."""
        try:
            with torch.no_grad(), _recorded(self.model) as record:
                self.loss(batch)
        except (CannotLook, ConfigError):
            raise
        except Exception as error:
            raise ConfigError(
                f"the model's loss of the first batch cannot be computed ({_shapes(batch)}): "
                f"{type(error).__name__}: {error}"
            ) from error
        pointers = {tensor.data_ptr() for tensor in leaves(list(record.arguments), Tensor)}
        return {number for number, tensor in enumerate(tensors_of(batch)) if tensor.data_ptr() in pointers}


def _blinded(inputs: Tensor) -> Tensor:
    """Zeros; where they are indices, the first sample's for all."""
    if inputs.is_floating_point() or not inputs.ndim:
        return torch.zeros_like(inputs)
    return inputs[:1].expand_as(inputs).clone()


def _blinding(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
    return map_nested(_blinded, arguments, Tensor), map_nested(_blinded, named, Tensor)


def _equal_loss(done: Pass, target: Tensor) -> Callable[[Tensor, Tensor], Tensor] | None:
    assert done.output is not None
    for loss in _KNOWN:
        try:
            value = loss(done.output, target)
        except (RuntimeError, ValueError, IndexError):
            continue
        if value.ndim == 0 and torch.isclose(value.float(), done.loss.float(), rtol=1e-4, atol=1e-6):
            return loss
    return None


class _Standing(nn.Module):
    """Stands for the model where its output is given; everything else that is asked of it, the model has."""

    def __init__(self, model: nn.Module, output: Tensor) -> None:
        super().__init__()
        object.__setattr__(self, "_stood_for", model)
        object.__setattr__(self, "_output", output)
        self.training = model.training

    def forward(self, *_: Any, **__: Any) -> Tensor:
        return self._output

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_stood_for"), name)


class _Record:
    def __init__(self) -> None:
        self.arguments: Sequence[Any] = ()
        self.result: Any = None


@contextmanager
def _recorded(model: nn.Module) -> Iterator[_Record]:
    """What the model is given and returns."""
    record = _Record()

    def hook(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], result: Any) -> None:
        record.arguments, record.result = [*arguments, *named.values()], result

    handle = model.register_forward_hook(hook, with_kwargs=True)
    try:
        yield record
    finally:
        handle.remove()


def _main_output(result: Any, samples: int) -> Tensor | None:
    if isinstance(result, Mapping) and isinstance(result.get("logits"), Tensor):
        return result["logits"]
    if isinstance(logits := getattr(result, "logits", None), Tensor):
        return logits
    for tensor in leaves(result, Tensor):
        if tensor.ndim and tensor.shape[0] == samples and tensor.is_floating_point():
            return tensor
    return None


def _target_numbers(batch: Any) -> set[int]:
    """The numbers, among the batch's tensors, of those that are targets by their place or name."""
    if isinstance(batch, Mapping):
        parts: list[tuple[bool, Any]] = [(str(name).lower() in TARGET_NAMES, value) for name, value in batch.items()]
    elif isinstance(batch, list | tuple) and len(batch) > 1:
        parts = [(place == len(batch) - 1, value) for place, value in enumerate(batch)]
    else:
        parts = [(False, batch)]
    marks = [is_target for is_target, value in parts for _ in leaves(value, Tensor)]
    return {number for number, is_target in enumerate(marks) if is_target}


def _shapes(batch: Any) -> str:
    return (
        ", ".join(f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in tensors_of(batch)) or "no tensor"
    )
