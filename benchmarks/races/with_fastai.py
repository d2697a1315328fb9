"""fastai as its course teaches it: data loaders from a folder, a Learner, fit_one_cycle."""

import time
from pathlib import Path

from fastai.callback import schedule as _  # noqa: F401 - it gives every Learner fit_one_cycle
from fastai.callback.core import Callback
from fastai.data.transforms import Normalize
from fastai.learner import Learner
from fastai.losses import LabelSmoothingCrossEntropyFlat
from fastai.metrics import accuracy
from fastai.torch_core import set_seed
from fastai.vision.augment import RandomResizedCrop
from fastai.vision.core import imagenet_stats
from fastai.vision.data import ImageDataLoaders

import loopwright as lw
from benchmarks.races import BATCH, SIZE

LR = 1e-2


class Clock(Callback):
    """Notes the time and the accuracy after each epoch's validation."""

    order = 90  # after the Recorder

    def __init__(self) -> None:
        self.began, self.seen = time.perf_counter(), []

    def after_epoch(self) -> None:
        self.seen.append((time.perf_counter() - self.began, float(self.learn.recorder.values[-1][-1])))


def race(data: Path, seed: int, epochs: int) -> list[tuple[float, float]]:
    set_seed(seed, reproducible=False)
    clock = Clock()
    loaders = ImageDataLoaders.from_folder(
        data,
        train="train",
        valid="validation",
        item_tfms=RandomResizedCrop(SIZE, min_scale=0.35),
        batch_tfms=[Normalize.from_stats(*imagenet_stats)],
        bs=BATCH,
        num_workers=2,
    )
    learner = Learner(
        loaders, lw.small_resnet(10), loss_func=LabelSmoothingCrossEntropyFlat(), metrics=accuracy, cbs=[clock]
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(epochs, LR)
    return clock.seen
