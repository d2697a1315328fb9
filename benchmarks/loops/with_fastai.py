"""fastai's Learner with its Recorder, which keeps every loss; one batch to validate on, since it insists on some."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from fastai.callback import progress as _  # noqa: F401 - it adds the display to what every Learner has
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper

from benchmarks._clock import TimedBatches
from benchmarks._task import new_model


def train(batches: TimedBatches, display: bool, folder: Path) -> None:
    data = DataLoaders(batches, batches.batches[:1], path=folder)
    optimizer = partial(OptimWrapper, opt=torch.optim.SGD, momentum=0.9)
    learner = Learner(data, new_model(), loss_func=F.cross_entropy, opt_func=optimizer, lr=0.01)  # type: ignore[arg-type]
    with nullcontext() if display else learner.no_bar(), nullcontext() if display else learner.no_logging():
        learner.fit(1)
