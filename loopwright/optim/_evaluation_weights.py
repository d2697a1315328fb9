"""``evaluation_weights``: the weights that an optimizer wants measured. Knows nothing about loops."""

import contextlib
from collections.abc import Iterator

from torch.optim import Optimizer


def has_modes(optimizer: Optimizer) -> bool:
    """Whether an optimizer has ``train()`` and ``eval()``, as those of Schedule-Free have."""
    return callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None))


@contextlib.contextmanager
def evaluation_weights(*optimizers: Optimizer) -> Iterator[None]:
    """The weights to evaluate are in the model inside ``with``, and those to train with again afterwards.

    Schedule-Free optimizers train at one place and want another one measured: they have ``train()`` and ``eval()``, which
    are called here. For all other optimizers nothing happens. Before the first step call ``optimizer.train()``.

    >>> import torch
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> with evaluation_weights(torch.optim.SGD([weight], lr=0.1)): weight.item()
    1.0
    """
    switched = [optimizer for optimizer in optimizers if has_modes(optimizer)]
    for optimizer in switched:
        optimizer.eval()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for optimizer in switched:
            optimizer.train()  # type: ignore[attr-defined]
