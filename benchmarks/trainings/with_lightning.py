"""Lightning with its defaults: ModelCheckpoint every few steps, `fit(ckpt_path=...)` from the newest file."""

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from benchmarks import _photos as photos
from benchmarks._witness import Witness, digest
from benchmarks.trainings import ASIDE, CHECKPOINTS, Saved
from benchmarks.trainings._pictures import new_loaders


class Clothes(L.LightningModule):
    """The training as Lightning wants it."""

    def __init__(self, witness: Witness) -> None:
        super().__init__()
        self.model = photos.new_model()
        self.witness = witness

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        images, labels, _numbers = batch
        loss = F.cross_entropy(self.model(images), labels)
        self.log("loss", loss)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: list[Tensor], batch_idx: int) -> None:
        self.witness.saw(self.global_step, self.current_epoch, batch[2], self.model)

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        images, labels, _numbers = batch
        self.log("top1", (self.model(images).argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> Any:
        optimizer = photos.new_optimizer(self.model)
        scheduler = {"scheduler": photos.new_scheduler(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


def train(folder: Path, witness: Witness, workers: int) -> None:
    (folder / ASIDE).mkdir(parents=True, exist_ok=True)
    # Lightning's file system writes a file here before it moves it to its place.
    tempfile.tempdir = str(folder / ASIDE)
    L.seed_everything(0, workers=True)
    train_loader, val_loader = new_loaders(workers)
    newest = next((path for path in _newest_first(folder) if _load(path) is not None), None)
    trainer = L.Trainer(
        max_epochs=photos.EPOCHS,
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        logger=CSVLogger(folder, version=os.getpid()),
        enable_progress_bar=False,
        callbacks=[ModelCheckpoint(folder / CHECKPOINTS, every_n_train_steps=photos.SAVE_EVERY, save_top_k=-1)],
    )
    trainer.fit(Clothes(witness), train_loader, val_loader, ckpt_path=newest)


def saved(folder: Path) -> list[Saved]:
    return [Saved(path.name, _step(path), _load(path)) for path in _newest_first(folder)]


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in (folder / ASIDE).iterdir() if path.is_file()} if (folder / ASIDE).is_dir() else set()


def history(folder: Path) -> bytes | None:
    return None


def _newest_first(folder: Path) -> list[Path]:
    return sorted((folder / CHECKPOINTS).glob("*.ckpt"), key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(re.search(r"step=(\d+)", path.name)[1])  # type: ignore[index]


def _load(path: Path) -> str | None:
    try:
        state = torch.load(path, weights_only=False)["state_dict"]
    except Exception:  # whatever a torn file raises
        return None
    return digest({name.removeprefix("model."): value for name, value in state.items()})
