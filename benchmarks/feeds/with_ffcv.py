"""FFCV: its own file of JPEG or raw records, decoded and cropped by compiled code in threads."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.basics import IntDecoder
from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder, SimpleRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import RandomHorizontalFlip, ToTensor
from ffcv.writer import DatasetWriter
from PIL import Image

from benchmarks.feeds import BATCH, PACKED, SHORT_SIDE, SIDE, WHOLE, Epoch, Job
from benchmarks.feeds._dataloader import labelled_files

QUALITY = 92  # FFCV encodes anew: near that of the photographs, so that records are of about the size of the files


class Pictures:
    """(picture, label) of every file; shrunk to a short side where it is given, antialiased."""

    def __init__(self, files: list[tuple[str, int]], short_side: int | None) -> None:
        self.files, self.short_side = files, short_side

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path, label = self.files[index]
        with Image.open(path) as picture:
            pixels = picture.convert("RGB")
        if self.short_side:
            by = min(pixels.size)
            size = pixels.width * self.short_side // by, pixels.height * self.short_side // by
            pixels = pixels.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(pixels), label


def record_file(job: Job) -> Path:
    return job.prepared / "photos.beton"


def prepare(job: Job) -> None:
    raw = job.case in PACKED
    field = RGBImageField(write_mode="raw") if raw else RGBImageField(write_mode="jpg", jpeg_quality=QUALITY)
    pictures = Pictures(labelled_files(job.photos), SHORT_SIDE if raw else None)
    writer = DatasetWriter(str(record_file(job)), {"image": field, "label": IntField()}, num_workers=2)
    writer.from_indexed_dataset(pictures)


def open_feed(job: Job) -> Epoch:
    numbers = len(labelled_files(job.photos))
    decoder = SimpleRGBImageDecoder() if job.case == WHOLE else RandomResizedCropRGBImageDecoder((SIDE, SIDE))
    flip = [] if job.case == WHOLE else [RandomHorizontalFlip()]
    loader = Loader(
        str(record_file(job)),
        BATCH,
        num_workers=job.workers,
        order=OrderOption.RANDOM,
        indices=np.tile(np.arange(numbers), job.repeats),
        batches_ahead=int(job.setting.split()[0]),
        pipelines={"image": [decoder, *flip, ToTensor()], "label": [IntDecoder(), ToTensor()]},
        seed=random.randrange(2**31),
    )

    def epoch(_: int) -> Iterator[Any]:
        for pictures, labels in loader:
            yield pictures, labels[:, 0]

    return epoch
