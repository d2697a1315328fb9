"""accelerate with a tracker that writes JSON lines (its own trackers are other products), and its tqdm."""

import json
from collections.abc import Iterable
from pathlib import Path

import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker

from benchmarks._clock import TimedBatches
from benchmarks._task import Batch, new_model, new_optimizer


class JsonLines(GeneralTracker):
    """The cheapest tracker there can be: one line a call."""

    name = "json lines"
    requires_logging_directory = True

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file.open("w")

    @property
    def tracker(self) -> object:
        return self.file

    def log(self, values: dict, step: int | None = None, **_: object) -> None:
        self.file.write(json.dumps({"step": step} | values) + "\n")

    def finish(self) -> None:
        self.file.close()


def train(batches: TimedBatches, display: bool, folder: Path) -> None:
    accelerator = Accelerator(cpu=True, log_with=JsonLines(folder / "log.jsonl"))
    accelerator.init_trackers("overhead")
    model = new_model()
    model, optimizer = accelerator.prepare(model, new_optimizer(model))
    for step, (x, y) in enumerate(_shown(batches) if display else batches):
        loss = F.cross_entropy(model(x), y)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        accelerator.log({"loss": loss.item()}, step=step)
    accelerator.end_training()


def _shown(batches: TimedBatches) -> Iterable[Batch]:
    from accelerate.utils import tqdm

    return tqdm(batches)
