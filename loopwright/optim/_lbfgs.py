"""``LBFGS``: torch's, of gradients in any memory format."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer


class LBFGS(torch.optim.LBFGS):
    """Torch's reads gradients as rows of numbers, which those of kernels in channels-last memory are not."""

    def _gather_flat_grad(self) -> Tensor:
        lay_out_gradients(parameter for group in self.param_groups for parameter in group["params"])
        return super()._gather_flat_grad()  # type: ignore[reportAttributeAccessIssue] - private


def lay_out_gradients(parameters: Iterable[Tensor]) -> None:
    """Put the numbers of gradients one behind another, as torch's LBFGS needs them.

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


def lay_out_of_its_own(optimizer: Optimizer) -> None:
    """Have the gradients of torch's own LBFGS laid out whenever they come; of all others nothing is changed."""
    if isinstance(optimizer, torch.optim.LBFGS) and not isinstance(optimizer, LBFGS):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.register_post_accumulate_grad_hook(lambda tensor: lay_out_gradients([tensor]))
