"""loopwright, by its public names alone; all that the benchmark knows of them is in this file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import loopwright as lw
from benchmarks.feeds import BATCH, COLD, CROPPED, REPEATS, SHORT_SIDE, SIDE, WHOLE, Epoch, Job


def prepare(job: Job) -> None:
    lw.pack(job.photos, job.prepared / "photos.pack", size=SHORT_SIDE, progress=False)


def open_feed(job: Job) -> Epoch:
    if job.case in COLD:
        dataset, options = lw.ImageFolder(job.photos), {"shuffle": True}
    else:
        dataset = lw.Packed(job.prepared / "photos.pack")
        options = {"sampler": Repeated(len(dataset), REPEATS)}
    loader = lw.Loader(dataset, BATCH, transform=transform_of(job.case), workers=job.workers, **options)

    def epoch(_: int) -> Iterator[Any]:
        return iter(loader)

    return epoch


def transform_of(case: str) -> Any:
    if case == WHOLE:
        return None
    return lw.RandomCrop(SIDE, flip=0.5) if case == CROPPED else lw.RandomResizedCrop(SIDE)


class Repeated:
    """A sampler that visits every record several times an epoch, in random order."""

    def __init__(self, size: int, repeats: int) -> None:
        self.size, self.repeats = size, repeats
        self.generator = torch.Generator()  # the loader seeds it

    def __len__(self) -> int:
        return self.size * self.repeats

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self), generator=self.generator) % self.size
        return iter(order.tolist())


def scaled_and_full(photos: Path, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same parts of the same pictures, twice as uint8 (N, C, H, W): decoded at a scale, and decoded in full.

    A crop alone may decide how much of a file is decoded; behind a function of the user's it is given whole pictures.
    """
    crop = lw.RandomResizedCrop(size)
    ways = (crop, lw.Compose([as_it_is, crop]))
    dataset = lw.ImageFolder(photos)
    loaders = [lw.Loader(dataset, BATCH, transform=way, workers=1) for way in ways]
    for (scaled, _), (full, _) in zip(*loaders, strict=True):
        yield scaled.numpy(), full.numpy()


def as_it_is(picture: Any) -> Any:
    return picture
