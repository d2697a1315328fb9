"""The pictures and the network that are killed: some hundred of the demo photographs, and a small one that can tell.

Every kind of state that a resume can forget is in it: augmentation, dropout, batch statistics, momentum, a schedule.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

PHOTOS = Path(__file__).parent.parent / "loopwright" / "demo" / "photos"
TRAIN, VALIDATION = 312, 60  # 312 leaves a short last batch
# 64 pixels: of photographs 128 high no part is large enough to be decoded at a reduced size, so a pack has the same bits.
BATCH_SIZE, EPOCHS, CLASSES, PIXELS = 16, 3, 10, 64
STEPS = -(-TRAIN // BATCH_SIZE) * EPOCHS
SAVE_EVERY = 5


class Pictures(Protocol):
    """An image folder: pictures and their classes."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> tuple[Any, int]: ...


class Numbered:
    """A part of a dataset, evenly taken, whose samples carry their number: (picture, class, number)."""

    def __init__(self, dataset: Pictures, size: int) -> None:
        self.dataset, self.size = dataset, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[Any, int, int]:
        picture, label = self.dataset[index * len(self.dataset) // self.size]
        return picture, label, index

    def undecoded(self, index: int) -> tuple[Any, int, int]:
        """For loopwright's fast engine: the file in place of the picture."""
        path, label = self.dataset.undecoded(index * len(self.dataset) // self.size)  # type: ignore[attr-defined]
        return path, label, index


def new_model() -> nn.Module:
    """Two convolutions, with everything in between that has a state or draws at random."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=4, padding=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(32 * 8 * 8, CLASSES),
    )


def new_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum."""
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def new_scheduler(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """One cycle over the whole training."""
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=STEPS)
