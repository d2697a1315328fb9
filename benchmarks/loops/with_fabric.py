"""Lightning Fabric with its CSV logger. It has no display of its own: its users take tqdm, and so does this."""

from collections.abc import Iterable
from pathlib import Path

import torch.nn.functional as F
from lightning.fabric import Fabric
from lightning.fabric.loggers.csv_logs import CSVLogger

from benchmarks._clock import TimedBatches
from benchmarks._task import Batch, new_model, new_optimizer


def train(batches: TimedBatches, display: bool, folder: Path) -> None:
    fabric = Fabric(accelerator="cpu", devices=1, loggers=CSVLogger(folder))
    fabric.launch()
    model = new_model()
    model, optimizer = fabric.setup(model, new_optimizer(model))
    for step, (x, y) in enumerate(_shown(batches) if display else batches):
        loss = F.cross_entropy(model(x), y)
        fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        fabric.log("loss", loss, step)


def _shown(batches: TimedBatches) -> Iterable[Batch]:
    from tqdm import tqdm

    return tqdm(batches)
