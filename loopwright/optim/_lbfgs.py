"""Gradients as torch's LBFGS reads them: as rows of numbers, which those of kernels in channels-last memory are not."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer


def lay_out_gradients(parameters: Iterable[Tensor]) -> None:
    """Put the numbers of gradients one behind another.

    >>> kernel = torch.ones(2, 3, 2, 2).to(memory_format=torch.channels_last).requires_grad_()
    >>> kernel.sum().backward()
    >>> lay_out_gradients([kernel])
    >>> kernel.grad.is_contiguous()
    True
    """
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None and gradient.layout == torch.strided:
            parameter.grad = gradient.contiguous()


def lay_out_in_closures(optimizer: Optimizer) -> None:
    """Have an LBFGS find gradients so after each call of the closure that it is given; all others stay as they are."""
    if isinstance(optimizer, LBFGS):
        optimizer.register_step_pre_hook(_with_laid_out)


def _with_laid_out(optimizer: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def laid_out(closure: Callable[[], Any]) -> Callable[[], Any]:
        def measure() -> Any:
            loss = closure()
            lay_out_gradients(parameters)
            return loss

        return measure

    itself, *closures = arguments
    return (itself, *map(laid_out, closures)), {name: laid_out(closure) for name, closure in named.items()}
