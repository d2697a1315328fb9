"""Whether the user's own step clears gradients and uses them. Watches the optimizer, not the code."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .._seed import capture_rng, restore_rng
from .._snapshot import Snapshot
from ._verdict import CannotLook, Verdict, failed, passed

_MOST_CALLS = 32  # until the optimizer has stepped: accumulation has its reasons
_CLOSE = 1e-3  # of the gradient's length


class _Watch:
    """The gradients that the optimizer steps with."""

    def __init__(self) -> None:
        self.gradients: list[Tensor] | None = None
        self.closure = False

    def __call__(self, optimizer: Optimizer, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.closure = named.get("closure") is not None or any(callable(argument) for argument in arguments[1:])
        self.gradients = [
            torch.zeros_like(p) if p.grad is None else p.grad.detach().clone()
            for group in optimizer.param_groups for p in group["params"]
        ]  # fmt: skip


@contextmanager
def _watched(optimizer: Optimizer):
    watch = _Watch()
    handle = optimizer.register_step_pre_hook(watch)
    try:
        yield watch
    finally:
        handle.remove()


def gradients_cleared(
    model: torch.nn.Module, optimizer: Optimizer, step: Callable[[Any], Any], batches: Sequence[Any]
) -> Verdict:
    """Take one optimizer step as it comes, and again with gradients cleared before it: they must be the same step.

    So it does not matter where ``zero_grad`` stands, nor whether gradients of several batches are gathered.
    """
    name = "gradients cleared"
    model.train()
    with _watched(optimizer) as watch, torch.enable_grad():
        calls = _until_stepped(watch, step, batches)
        if calls == 0:
            return failed(
                name, f"step() was called {_MOST_CALLS} times and never stepped the optimizer", "call optimizer.step()",
            )  # fmt: skip
        if watch.closure:
            raise CannotLook(f"{type(optimizer).__name__} is given a closure, which clears them as a rule")
        snapshot = Snapshot([model, optimizer])
        rng = capture_rng()
        _until_stepped(watch, step, batches)
        as_it_comes = watch.gradients
        snapshot.put_back()
        restore_rng(rng)
        for parameter in model.parameters():
            parameter.grad = None
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        _until_stepped(watch, step, batches)
        cleared = watch.gradients
    assert as_it_comes is not None
    assert cleared is not None
    length = _length(cleared)
    apart = _length([one - other for one, other in zip(as_it_comes, cleared, strict=True)])
    numbers = {"apart": apart, "length": length, "calls": calls}
    if length == 0:
        return failed(
            name, "the optimizer steps with gradients that are all 0", "call loss.backward() before it", **numbers
        )
    said = f"one optimizer step as it comes and with gradients cleared before differ by {apart / length:.2g} of their length"
    if apart > _CLOSE * length:
        return failed(
            name, f"{said}: gradients of steps before are left and added", "call optimizer.zero_grad() once for each "
            "optimizer.step()", **numbers,
        )  # fmt: skip
    return passed(name, said, **numbers)


def _until_stepped(watch: _Watch, step: Callable[[Any], Any], batches: Sequence[Any]) -> int:
    """How many calls it took; 0 if it was too many."""
    watch.gradients = None
    for call in range(_MOST_CALLS):
        step(batches[call % len(batches)])
        if watch.gradients is not None:
            return call + 1
    return 0


def _length(tensors: Sequence[Tensor]) -> float:
    return float(torch.stack([tensor.float().square().sum() for tensor in tensors]).sum().sqrt())
