"""LitData: an optimized dataset of JPEG files in chunks, streamed from the local disk by its own loader."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litdata
import torch
from PIL import Image
from torchvision import transforms
from torchvision.io import ImageReadMode, decode_jpeg

from benchmarks.feeds import BATCH, SIDE, Epoch, Job
from benchmarks.feeds._dataloader import labelled_files
from benchmarks.feeds.with_decode_jpeg import new_crop


def read_sample(file: tuple[str, int]) -> tuple[bytes, int]:
    """The file as it is: LitData's own JPEG format would hold the same bytes."""
    return Path(file[0]).read_bytes(), file[1]


def prepare(job: Job) -> None:
    litdata.optimize(
        read_sample, labelled_files(job.photos), str(job.prepared / "chunks"), chunk_bytes="64MB", num_workers=1
    )


class Streamed(litdata.StreamingDataset):
    """Samples decoded and cropped as they are read."""

    def __init__(self, folder: Path, transform: Any) -> None:
        super().__init__(str(folder), shuffle=True, max_cache_size="100GB")
        self.made = transform

    def __getitem__(self, index: Any) -> tuple[torch.Tensor, int]:
        data, label = super().__getitem__(index)
        return self.made(data), label


def by_decode_jpeg(data: bytes, crop: Any = new_crop()) -> torch.Tensor:  # noqa: B008 - it has no state
    return crop(decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB))


CROP = transforms.Compose(
    [transforms.RandomResizedCrop(SIDE), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
)


def by_pillow(data: bytes) -> torch.Tensor:
    return CROP(Image.open(io.BytesIO(data)).convert("RGB"))


def open_feed(job: Job) -> Epoch:
    os.environ.setdefault("LITDATA_DISABLE_VERSION_CHECK", "1")
    dataset = Streamed(job.prepared / "chunks", by_pillow if job.setting == "pillow" else by_decode_jpeg)
    loader = litdata.StreamingDataLoader(
        dataset, batch_size=BATCH, num_workers=job.workers, shuffle=True, persistent_workers=True
    )

    def epoch(_: int) -> Iterator[Any]:
        return iter(loader)

    return epoch
