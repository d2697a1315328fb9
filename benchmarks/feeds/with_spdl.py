"""SPDL: a pipeline of threads, decoding with its own FFmpeg or with torchvision's decoder."""

import random
from collections.abc import Iterator
from typing import Any

import spdl.io
import torch
from spdl.pipeline import PipelineBuilder
from torchvision.transforms import RandomResizedCrop

from benchmarks.feeds import BATCH, SIDE, Epoch, Job
from benchmarks.feeds._dataloader import labelled_files
from benchmarks.feeds.with_decode_jpeg import new_crop, open_picture

CROP = new_crop()
Sample = tuple[torch.Tensor, int]


def by_decode_jpeg(file: tuple[str, int]) -> Sample:
    return CROP(open_picture(file[0])), file[1]


def by_ffmpeg(file: tuple[str, int]) -> Sample:
    """Crop, resize (averaging, as antialiasing does) and flip are filters of FFmpeg."""
    packets = spdl.io.demux_image(file[0])
    codec = packets.codec
    canvas = torch.empty(1).expand(3, codec.height, codec.width)  # only its size is looked at
    top, left, high, wide = RandomResizedCrop.get_params(canvas, [0.08, 1.0], [3 / 4, 4 / 3])
    flip = ",hflip" if random.random() < 0.5 else ""
    filters = f"crop={wide}:{high}:{left}:{top}:exact=1,scale={SIDE}:{SIDE}:flags=bilinear{flip},format=rgb24"
    frames = spdl.io.decode_packets(packets, filter_desc=filters)
    return spdl.io.to_torch(spdl.io.convert_frames(frames)), file[1]


def stacked(samples: list[Sample]) -> tuple[torch.Tensor, list[int]]:
    return torch.stack([picture for picture, _ in samples]), [label for _, label in samples]


def open_feed(job: Job) -> Epoch:
    files = labelled_files(job.photos)
    picture = by_ffmpeg if job.setting == "ffmpeg" else by_decode_jpeg

    def epoch(number: int) -> Iterator[Any]:
        order = random.Random(number).sample(files, len(files))
        pipeline = (
            PipelineBuilder()
            .add_source(order)
            .pipe(picture, concurrency=job.workers)
            .aggregate(BATCH)
            .pipe(stacked)
            .add_sink(3)
            .build(num_threads=job.workers + 1)
        )
        with pipeline.auto_stop():
            yield from pipeline

    return epoch
