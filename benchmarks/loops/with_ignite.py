"""Ignite with its running average of the loss, and its ProgressBar as it comes."""

from pathlib import Path

import torch.nn.functional as F
from ignite.engine import Engine
from ignite.handlers import ProgressBar
from ignite.metrics import RunningAverage
from torch import Tensor

from benchmarks._clock import TimedBatches
from benchmarks._task import Batch, new_model, new_optimizer


def train(batches: TimedBatches, display: bool, folder: Path) -> None:
    model = new_model()
    optimizer = new_optimizer(model)

    def update(engine: Engine, batch: Batch) -> float:
        x, y = batch
        loss: Tensor = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    trainer = Engine(update)
    RunningAverage(output_transform=lambda loss: loss).attach(trainer, "loss")
    if display:
        ProgressBar().attach(trainer)
    trainer.run(batches, max_epochs=1)
