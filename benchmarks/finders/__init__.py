"""What a learning-rate finder is given, and one file a finder: each as its own documentation uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader


@dataclass
class Problem:
    """A training that has not begun. ``loss`` is None where the model returns its own."""

    model: nn.Module
    build: Callable[[float], Optimizer]  # an optimizer of the model's parameters, by its learning rate
    loader: DataLoader
    loss: Callable[[Any, Any], Tensor] | None


FINDERS = ("loopwright", "torch_lr_finder", "lightning")
