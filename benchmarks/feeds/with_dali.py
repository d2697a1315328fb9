"""DALI without a GPU: file reader, decoder that knows its crop, antialiased resize, in DALI's threads."""

from collections.abc import Iterator
from typing import Any

from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.base_iterator import LastBatchPolicy
from nvidia.dali.plugin.pytorch import DALIGenericIterator

from benchmarks.feeds import BATCH, SIDE, Epoch, Job
from benchmarks.feeds._dataloader import labelled_files


@pipeline_def
def crops(files: list[str], labels: list[int], whole: bool) -> Any:
    data, numbers = fn.readers.file(files=files, labels=labels, random_shuffle=True, name="reader")
    if whole:
        picture = fn.decoders.image(data, device="cpu", output_type=types.RGB)
        picture = fn.random_resized_crop(picture, size=SIDE, interp_type=types.INTERP_LINEAR, antialias=True)
    else:
        picture = fn.decoders.image_random_crop(data, device="cpu", output_type=types.RGB)
        picture = fn.resize(picture, size=(SIDE, SIDE), interp_type=types.INTERP_LINEAR, antialias=True)
    return fn.flip(picture, horizontal=fn.random.coin_flip()), numbers


def open_feed(job: Job) -> Epoch:
    files = labelled_files(job.photos)
    pipeline = crops(
        [path for path, _ in files],
        [label for _, label in files],
        job.setting == "whole decoder",
        batch_size=BATCH,
        num_threads=job.workers,
        device_id=None,
        prefetch_queue_depth=2,
        seed=0,
    )
    loader = DALIGenericIterator(
        [pipeline],
        ["pictures", "labels"],
        reader_name="reader",
        last_batch_policy=LastBatchPolicy.PARTIAL,
        auto_reset=True,
    )

    def epoch(_: int) -> Iterator[Any]:
        for (batch,) in loader:
            yield batch["pictures"], batch["labels"][:, 0]

    return epoch
