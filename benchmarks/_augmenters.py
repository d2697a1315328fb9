"""The same augmentations written for each system, as functions of a batch. Knows nothing about how they are timed.

A function takes uint8 images (N, 3, H, W), labels and the number of the step. Each system is given its pictures in the
dtype and memory format that it works on: kornia floats, as torchvision's mixup, the others uint8.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

import loopwright as lw

Augment = Callable[[Tensor, Tensor, int], Any]
CLASSES = 1000
SIZE = 224
CASES = [
    "flip", "resized crop and flip", "affine", "colour", "erase", "RandAugment", "mixup", "cutmix",
    "crop, flip, colour, erase",
]  # fmt: skip


@dataclass(frozen=True)
class System:
    """One of those compared."""

    title: str
    packages: tuple[str, ...]
    make: Callable[[str], Augment | None]  # None: it has nothing for this case
    on_floats: tuple[str, ...] = ()  # the cases in which it works on floats


def loopwright(case: str) -> Augment:
    """Numbers of its own for each picture."""
    members: dict[str, list[Any]] = {
        "flip": [lw.BatchFlip()],
        "resized crop and flip": [lw.BatchResizedCrop(SIZE)],
        "affine": [lw.BatchAffine(15, (0.1, 0.1), (0.9, 1.1), 5)],
        "colour": [lw.BatchColor(0.4, 0.4, 0.4, 0.1)],
        "erase": [lw.BatchErase(1.0)],
        "RandAugment": [lw.BatchRandAugment(2, 9)],
        "mixup": [lw.Mixup(CLASSES)],
        "cutmix": [lw.CutMix(CLASSES)],
    }
    members[CASES[-1]] = [member for name in CASES[1:5] if name != "affine" for member in members[name]]
    augment = lw.BatchAugment(members[case])
    return lambda images, labels, step: augment(images, labels, seed=0, step=step)


def _torchvision(case: str) -> Callable[..., Any]:
    makers: dict[str, Callable[[], Any]] = {
        "flip": v2.RandomHorizontalFlip,
        "resized crop and flip": lambda: v2.Compose([v2.RandomResizedCrop(SIZE), v2.RandomHorizontalFlip()]),
        "affine": lambda: v2.RandomAffine(15, (0.1, 0.1), (0.9, 1.1), 5, interpolation=v2.InterpolationMode.BILINEAR),
        "colour": lambda: v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
        "erase": lambda: v2.RandomErasing(1.0),
        "RandAugment": lambda: v2.RandAugment(2, 9, interpolation=v2.InterpolationMode.BILINEAR),
        "mixup": lambda: v2.MixUp(num_classes=CLASSES, alpha=0.2),
        "cutmix": lambda: v2.CutMix(num_classes=CLASSES),
        CASES[-1]: lambda: v2.Compose([_torchvision(name) for name in (CASES[1], "colour", "erase")]),
    }
    return makers[case]()


def torchvision_per_sample(case: str) -> Augment | None:
    """As in a loader: picture by picture, then stacked."""
    if case in ("mixup", "cutmix"):
        return None
    transform = _torchvision(case)
    return lambda images, labels, step: (torch.stack([transform(image) for image in images]), labels)


def torchvision_per_batch(case: str) -> Augment:
    """One call for the batch: all pictures are given the same numbers."""
    transform = _torchvision(case)
    if case in ("mixup", "cutmix"):
        return lambda images, labels, step: transform(images, labels)
    return lambda images, labels, step: (transform(images), labels)


def kornia(case: str) -> Augment:
    """Numbers of its own for each picture; RandAugment draws the operations once a batch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kornia.augmentation as K
    makers: dict[str, Callable[[], list[Any]]] = {
        "flip": lambda: [K.RandomHorizontalFlip()],
        "resized crop and flip": lambda: [K.RandomResizedCrop((SIZE, SIZE)), K.RandomHorizontalFlip()],
        "affine": lambda: [K.RandomAffine(15, (0.1, 0.1), (0.9, 1.1), 5, p=1.0)],
        "colour": lambda: [K.ColorJitter(0.4, 0.4, 0.4, 0.1, p=1.0)],
        "erase": lambda: [K.RandomErasing(p=1.0)],
        "RandAugment": lambda: [K.auto.RandAugment(2, 9)],
        "mixup": lambda: [K.RandomMixUpV2(data_keys=["input", "class"])],
        "cutmix": lambda: [K.RandomCutMixV2(data_keys=["input", "class"])],
    }
    mixes = case in ("mixup", "cutmix")
    members = [m for name in ((CASES[1], "colour", "erase") if case == CASES[-1] else (case,)) for m in makers[name]()]
    if mixes:
        (mix,) = members
        return lambda images, labels, step: mix(images, labels)
    augment = torch.nn.Sequential(*members)
    return lambda images, labels, step: (augment(images), labels)


SYSTEMS = [
    System("loopwright", ("loopwright", "torch"), loopwright),
    System("torchvision v2, picture by picture", ("torchvision",), torchvision_per_sample),
    System("torchvision v2, same for all of a batch", ("torchvision",), torchvision_per_batch, ("mixup",)),
    System("kornia", ("kornia",), kornia, tuple(CASES)),
]


def batch(samples: int, side: int, device: torch.device, *, floats: bool) -> tuple[Tensor, Tensor]:
    """Photographs and labels: the demo photos, square, channels-last as loaders make them (floats: as kornia wants)."""
    paths = sorted(lw.demo_photos().rglob("*.jpg"))
    chosen = [paths[i * len(paths) // samples] for i in range(samples)]
    images = lw.collate([lw.open_picture(path).resize((side, side)) for path in chosen]).to(device)
    labels = torch.arange(samples, device=device) % CLASSES
    return (images.float().div(255).contiguous() if floats else images), labels
