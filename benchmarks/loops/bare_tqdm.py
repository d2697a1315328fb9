"""Plain PyTorch inside tqdm, which then counts steps and shows nothing else."""

from pathlib import Path

from tqdm import tqdm

from benchmarks._clock import TimedBatches
from benchmarks._task import bare_loop, new_model, new_optimizer


def train(batches: TimedBatches, display: bool, folder: Path) -> None:
    model = new_model()
    bare_loop(model, new_optimizer(model), tqdm(batches, disable=not display))
