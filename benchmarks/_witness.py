"""What a training says about every step it does, on disk before the next one: whoever kills it knows what it had done.

Each line reaches the file in one write, so no kill tears one. Knows nothing about the system that trains.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Use:
    """One training step: in which life, its number from 1 on, its epoch, the samples it used, the weights it left."""

    life: int
    step: int
    epoch: int
    samples: tuple[int, ...]
    weights: str


class Witness:
    """Appends a line a step to `file`."""

    def __init__(self, file: Path, life: int) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._life = life

    def saw(self, step: int, epoch: int, samples: Tensor, model: nn.Module) -> None:
        """Called after the optimizer's step number `step`, with the samples of its batch."""
        line = [self._life, step, epoch, samples.tolist(), digest(model.state_dict())]
        os.write(self._file, json.dumps(line).encode() + b"\n")


def digest(state: Mapping[str, Tensor]) -> str:
    """A checksum over every bit of a module's state."""
    total = hashlib.blake2b(digest_size=16)
    for name, value in sorted(state.items()):
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


def read_uses(file: Path) -> list[Use]:
    """Every step of every life, in the order in which they were done."""
    lines = file.read_text().splitlines() if file.exists() else []
    values = map(json.loads, lines)
    return [Use(life, step, epoch, tuple(samples), weights) for life, step, epoch, samples, weights in values]


def surviving(uses: Iterable[Use]) -> list[Use]:
    """The steps that the final weights contain: a life that resumes at step n takes back every earlier n and beyond."""
    kept: list[Use] = []
    life = None
    for use in uses:
        if use.life != life:
            life = use.life
            kept = [k for k in kept if k.step < use.step]
        kept.append(use)
    return kept


def count_samples(uses: Iterable[Use], samples: int, epochs: int) -> tuple[int, int]:
    """How often a sample was used a second time in one epoch, and how many an epoch never used, over all epochs."""
    seen = Counter((use.epoch, sample) for use in uses for sample in use.samples)
    never = sum((epoch, sample) not in seen for epoch in range(epochs) for sample in range(samples))
    return sum(times - 1 for times in seen.values()), never
