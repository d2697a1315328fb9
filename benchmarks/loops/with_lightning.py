"""Lightning's Trainer with its CSV logger, everything else as it comes: it writes one value in fifty."""

from pathlib import Path

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from benchmarks._clock import TimedBatches
from benchmarks._task import Batch, new_model, new_optimizer


class Digits(L.LightningModule):
    """The task as Lightning wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = new_model()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self.model(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return new_optimizer(self.model)


def train(batches: TimedBatches, display: bool, folder: Path) -> None:
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        logger=CSVLogger(folder),
        enable_progress_bar=display,
    )
    trainer.fit(Digits(), batches)
