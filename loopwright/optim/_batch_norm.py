"""``update_batch_norm``: the statistics of batch norm measured again, for weights that were not trained with theirs."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .._errors import ConfigError
from .._over_ranks import several, summed


@torch.no_grad()
def update_batch_norm(
    model: nn.Module, batches: Iterable[Any], *, forward: Callable[[nn.Module, Any], Any] | None = None
) -> int:
    """Mean and variance of every batch-norm layer over some batches, all batches alike; how many layers there are.

    All other layers are in evaluation mode meanwhile, so that nothing random happens. Without batch norm no batch is read.
    Of several ranks each reads its batches, and all are given the statistics over the batches of all.

    Args:
        model: its running statistics are replaced; afterwards each layer is in the mode it was in.
        batches: on the model's device and normalised, such as ``run.batches(loader)`` inside ``run.evaluate(model)``.
        forward: a function of (model, batch). Default: ``model(batch)``, or ``model(batch[0])`` of a tuple or list.

    Raises:
        ConfigError: there are no batches.

    Source: Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018, section 3.3.

    >>> norm = nn.BatchNorm1d(1)
    >>> update_batch_norm(norm, [torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [7.0]])])
    1
    >>> norm.running_mean.item(), norm.running_var.item()
    (4.0, 2.0)
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return 0
    modes = [(layer, layer.training) for layer in model.modules()]
    momenta = [norm.momentum for norm in norms]
    count = 0
    try:
        model.eval()
        for norm in norms:
            norm.momentum = None  # the mean over all batches
            norm.train()
        for count, batch in enumerate(batches, 1):
            if count == 1:  # not earlier: with the first batch a resumed run may be given its saved statistics back
                for norm in norms:
                    norm.reset_running_stats()
            (forward or _forward)(model, batch)
        if several():
            count = _joined(norms, count)
    finally:
        for layer, training in modes:
            layer.training = training
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    if not count:
        raise ConfigError("update_batch_norm: there are no batches, so there are no statistics")
    return len(norms)


def _joined(norms: list[_BatchNorm], count: int) -> int:
    """Make the statistics of each rank's batches those of all batches; how many these are."""
    total = 0
    for norm in norms:
        means = [stats for stats in (norm.running_mean, norm.running_var) if stats is not None]
        sums = torch.cat([stats.double() * count for stats in means] + [means[0].new_tensor([count]).double()])
        *parts, batches = summed(sums).split([len(stats) for stats in means] + [1])
        total = int(batches)
        for stats, part in zip(means, parts, strict=True):
            stats.copy_(part / max(total, 1))
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.fill_(total)
    return total


def _forward(model: nn.Module, batch: Any) -> Any:
    return model(batch[0] if isinstance(batch, list | tuple) and not isinstance(batch, Tensor) else batch)
