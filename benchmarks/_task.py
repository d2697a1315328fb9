"""The training step that all systems do: a small network on ready batches. Knows nothing about any system."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH_SIZE = 64
BATCHES = 20

Batch = tuple[Tensor, Tensor]


def new_model() -> nn.Module:
    """A perceptron on 28x28 digits: about 600 us a step at batch 64 on one core."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def new_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum."""
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def new_batches() -> list[Batch]:
    """Batches in memory, so that data costs nothing."""
    draw = torch.Generator().manual_seed(0)
    return [_new_batch(draw) for _ in range(BATCHES)]


def _new_batch(draw: torch.Generator) -> Batch:
    return torch.randn(BATCH_SIZE, 784, generator=draw), torch.randint(10, (BATCH_SIZE,), generator=draw)


def bare_loop(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[Batch]) -> None:
    """The loop that all the others are compared with."""
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def bare_steps(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[Batch]) -> Iterator[None]:
    """The same loop, one step each time it is asked for the next."""
    for x, y in batches:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        yield
