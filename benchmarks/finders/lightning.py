"""Lightning: `Tuner.lr_find` of a module whose `training_step` is the problem's; 1e-8 to 1 in 100 steps by default."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.finders import Problem

PACKAGES = ["lightning"]
START = 1e-3


def find(problem: Problem, optimizer: Optimizer) -> float:
    """The suggestion."""
    import lightning.pytorch as pl
    from lightning.pytorch.tuner import Tuner

    class Module(pl.LightningModule):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model, self.lr = model, START

        def training_step(self, batch: Any, _: int) -> Tensor:
            if problem.loss is not None:
                return problem.loss(self.model(batch[0]), batch[1])
            return self.model(**batch) if isinstance(batch, Mapping) else self.model(*batch)

        def configure_optimizers(self) -> Optimizer:
            return optimizer

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    before = os.getcwd()
    with warnings.catch_warnings(action="ignore"), tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # it writes a checkpoint there
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                trainer = pl.Trainer(
                    accelerator="cpu", devices=1, max_epochs=1000, logger=False, enable_checkpointing=False,
                    enable_progress_bar=False, enable_model_summary=False,
                )  # fmt: skip
                found = Tuner(trainer).lr_find(Module(problem.model), train_dataloaders=problem.loader)
        finally:
            os.chdir(before)
    suggestion = None if found is None else found.suggestion()
    if suggestion is None:
        raise RuntimeError("no suggestion")
    return float(suggestion)
