"""torch's ``DataLoader`` as all the feeds use it that are built on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from benchmarks.feeds import BATCH, Epoch, Job


def epochs_of(dataset: Dataset[Any], job: Job, **options: Any) -> Epoch:
    """Shuffled batches; the workers live on from one epoch to the next."""
    options = {"shuffle": True, "batch_size": BATCH, "persistent_workers": job.workers > 0} | options
    loader = DataLoader(dataset, num_workers=job.workers, **options)

    def epoch(_: int) -> Iterator[Any]:
        return iter(loader)

    return epoch


def labelled_files(photos: Path) -> list[tuple[str, int]]:
    """Every file and its label, for systems that take lists: as ``ImageFolder`` finds them."""
    folders = sorted(path for path in photos.iterdir() if path.is_dir())
    return [(str(folder / "photo.jpg"), label) for label, folder in enumerate(folders)]
