"""``BatchTransform``: the interface of everything that changes a batch, in two phases.

``plan`` draws all numbers on the CPU, where they are few and cheap, so that every device is given the same ones and what
depends on them (which samples change, how far) is known without waiting for the device. ``apply`` does the work on the
device. In between the numbers of all members travel in one copy.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ._pixels import at_once, check_images
from ._random import StepRandom

Batch = tuple[Tensor, Any]  # images and labels


class Shape(NamedTuple):
    """The shape of a batch of pictures."""

    samples: int
    channels: int
    height: int
    width: int


class Plan(NamedTuple):
    """What a member will do to one batch."""

    numbers: Mapping[str, np.ndarray]  # for the device: indexes as int64, everything else as float64
    facts: Any = None  # for the host
    size: tuple[int, int] | None = None  # height and width afterwards, where they change


class BatchTransform(ABC):
    """Something that changes a batch: it is called with images, labels and the random numbers of the step."""

    by_sample = True  # whether what a picture becomes depends on nothing else in the batch, and labels stay

    def check_values(self, images: Tensor) -> None:  # noqa: B027 - most take anything
        """Refuse pictures whose values mean something else to this member; called before anything is changed."""

    @abstractmethod
    def plan(self, shape: Shape, rng: StepRandom) -> Plan:
        """Draw what one batch needs."""

    @abstractmethod
    def apply(self, images: Tensor, labels: Any, numbers: Mapping[str, Tensor], facts: Any) -> Batch:
        """Do what was planned; ``numbers`` are the plan's on the device of the images, int64 and float32."""

    def __call__(self, images: Tensor, labels: Any, rng: StepRandom) -> Batch:
        """New images and labels; the given ones are not changed.

        Args:
            images: (N, C, H, W), uint8 in 0..255 or floating point, on any device, contiguous or channels-last.
            labels: whatever belongs to them; only ``Mixup`` and ``CutMix`` look at it.
            rng: ``StepRandom(seed, step)``, made anew for each step.
        """
        check_images(images)
        if len(images):
            self.check_values(images)
        return carry_out(self, images, labels, rng)


def carry_out(member: BatchTransform, images: Tensor, labels: Any, rng: StepRandom) -> Batch:
    """Plan, move, apply. Half precision is for networks: under autocast, too, pictures are changed in float32."""
    check_images(images)
    if len(images) == 0:
        return images, labels
    count = at_once(images)
    with torch.autocast(images.device.type, enabled=False):
        if not member.by_sample or count >= len(images):
            return _at_once(member, images, rng, labels)
        # The plans of the parts are that of the whole.
        sources = [rng.part(start) for start in range(0, len(images), count)]
        parts = [_at_once(member, *pair)[0] for pair in zip(images.split(count), sources, strict=True)]
        rng.follow(sources[0])
    return torch.cat(parts), labels


def _at_once(member: BatchTransform, images: Tensor, rng: StepRandom, labels: Any = None) -> Batch:
    plan = member.plan(Shape(*images.shape), rng)
    return member.apply(images, labels, moved(plan.numbers, images.device), plan.facts)


def moved(numbers: Mapping[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """All the numbers on the device, by one copy that does not wait for it."""
    words = [_words(array) for array in numbers.values()]
    packed = torch.from_numpy(np.concatenate([np.empty(0, np.int32), *words]))
    if device.type == "cuda":
        packed = packed.pin_memory()
    pieces = packed.to(device, non_blocking=True).split([len(piece) for piece in words])
    return {name: _unpacked(p, array) for (name, array), p in zip(numbers.items(), pieces, strict=True)}


def _words(array: np.ndarray) -> np.ndarray:
    narrow = np.int32 if array.dtype.kind == "i" else np.float32
    return np.ascontiguousarray(array, dtype=narrow).reshape(-1).view(np.int32)


def _unpacked(piece: Tensor, array: np.ndarray) -> Tensor:
    made = piece.to(torch.int64) if array.dtype.kind == "i" else piece.view(torch.float32)
    return made.view(array.shape)
