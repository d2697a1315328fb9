"""Plain PyTorch inside tqdm that shows the loss, by tqdm's own means."""

from pathlib import Path

import torch.nn.functional as F
from tqdm import tqdm

from benchmarks._clock import TimedBatches
from benchmarks._task import new_model, new_optimizer


def train(batches: TimedBatches, display: bool, folder: Path) -> None:
    model = new_model()
    optimizer = new_optimizer(model)
    bar = tqdm(batches, disable=not display)
    for x, y in bar:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        bar.set_postfix(loss=loss.item())
