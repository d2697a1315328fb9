"""How far beyond what a ramp shows a training bears its learning rate. Measured on small networks; knows no curves."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

PLAIN_STEPS, SCALED_STEPS = 8.0, 2.0  # of SGD, whose steps are the gradient; of others, which scale it by its own size


def tolerance(objects: Iterable[Any]) -> float:
    """1, or more for a network with batch normalisation.

    In front of batch norm only the direction of weights counts: a step that is too long makes them longer, and the steps
    after it turn them less. So a training that warms up bears rates at which a short ramp from the start already loses.

    Source: Arora, Li and Lyu, "Theoretical analysis of auto rate-tuning by batch normalization", ICLR 2019. The numbers are
    measured: docs/learning-rate.md.

    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    >>> tolerance([network, torch.optim.SGD(network.parameters(), lr=0.1)])
    8.0
    """
    objects = list(objects)
    layers = [layer for value in objects if isinstance(value, nn.Module) for layer in value.modules()]
    if not any(isinstance(layer, _BatchNorm) and layer.training for layer in layers):
        return 1.0
    optimizers = [value for value in objects if isinstance(value, Optimizer)]
    return PLAIN_STEPS if all(isinstance(one, torch.optim.SGD) for one in optimizers) else SCALED_STEPS
