"""Plain PyTorch, nothing logged: the zero of every comparison. Against itself it shows how exact the figures are."""

from pathlib import Path

from benchmarks._clock import TimedBatches
from benchmarks._task import bare_loop, new_model, new_optimizer


def train(batches: TimedBatches, display: bool, folder: Path) -> None:
    model = new_model()
    bare_loop(model, new_optimizer(model), batches)
