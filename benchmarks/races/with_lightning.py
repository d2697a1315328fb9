"""Lightning with torchvision's ImageFolder and transforms, AdamW and one cycle."""

import logging
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import loopwright as lw
from benchmarks.races import BATCH, SIZE

LR = 1e-2
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Classifier(L.LightningModule):
    """The training as Lightning wants it; notes the time and the accuracy after each validation."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.model, self._steps = lw.small_resnet(10), steps
        self.began, self.seen = time.perf_counter(), []
        self._right = self._all = 0

    def training_step(self, batch: Any, _: int) -> Tensor:
        return F.cross_entropy(self.model(batch[0]), batch[1], label_smoothing=0.1)

    def validation_step(self, batch: Any, _: int) -> None:
        self._right += int((self.model(batch[0]).argmax(1) == batch[1]).sum())
        self._all += len(batch[1])

    def on_validation_epoch_end(self) -> None:
        self.seen.append((time.perf_counter() - self.began, self._right / self._all))
        self._right = self._all = 0

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=LR, weight_decay=0.05)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=self._steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def race(data: Path, seed: int, epochs: int) -> list[tuple[float, float]]:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    L.seed_everything(seed, workers=True, verbose=False)
    began = time.perf_counter()
    end = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(_MEAN, _STD)]
    crop = v2.Compose([v2.RandomResizedCrop(SIZE, scale=(0.35, 1.0)), v2.RandomHorizontalFlip(), *end])
    centre = v2.Compose([v2.Resize(SIZE), v2.CenterCrop(SIZE), *end])
    train = DataLoader(
        ImageFolder(data / "train", crop), BATCH, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True
    )
    val = DataLoader(ImageFolder(data / "validation", centre), 128, num_workers=2, persistent_workers=True)
    model = Classifier(epochs * len(train))
    model.began = began
    with tempfile.TemporaryDirectory() as folder:
        trainer = L.Trainer(
            max_epochs=epochs, accelerator="cpu", default_root_dir=folder, logger=False, enable_progress_bar=False,
            enable_checkpointing=False, enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(model, train, val)
    return model.seen
