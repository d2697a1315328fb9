"""WebDataset: shards of JPEG files in tar archives, read by ``DataLoader`` workers."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import webdataset as wds
from PIL import Image
from torchvision import transforms
from torchvision.io import ImageReadMode, decode_jpeg

from benchmarks.feeds import BATCH, SIDE, Epoch, Job
from benchmarks.feeds._dataloader import labelled_files
from benchmarks.feeds.with_decode_jpeg import new_crop

SHARDS, BUFFER = 20, 1000


def prepare(job: Job) -> None:
    files = labelled_files(job.photos)
    for shard in range(SHARDS):
        with tarfile.open(job.prepared / f"{shard:03}.tar", "w") as archive:
            for path, label in files[shard::SHARDS]:
                _add(archive, f"{label:06}.jpg", Path(path).read_bytes())
                _add(archive, f"{label:06}.cls", str(label).encode())


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def open_feed(job: Job) -> Epoch:
    shards = sorted(str(path) for path in job.prepared.glob("*.tar"))
    transform = _by_pillow() if job.setting == "pillow" else _by_decode_jpeg()
    dataset = (
        wds.WebDataset(shards, shardshuffle=len(shards))
        .shuffle(BUFFER)
        .to_tuple("jpg", "cls")
        .map_tuple(transform, int)
        .batched(BATCH, collation_fn=torch.utils.data.default_collate)
    )
    loader = wds.WebLoader(dataset, batch_size=None, num_workers=job.workers, persistent_workers=True)

    def epoch(_: int) -> Iterator[Any]:
        return iter(loader)

    return epoch


def _by_decode_jpeg() -> Any:
    crop = new_crop()

    def made(data: bytes) -> torch.Tensor:
        return crop(decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB))

    return made


def _by_pillow() -> Any:
    crop = [transforms.RandomResizedCrop(SIDE), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
    composed = transforms.Compose(crop)

    def made(data: bytes) -> torch.Tensor:
        return composed(Image.open(io.BytesIO(data)).convert("RGB"))

    return made
