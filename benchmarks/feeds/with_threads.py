"""What one writes to be rid of worker processes: a pool of threads in the training process, each making a picture.

torchvision's decoder and resize let go of the interpreter while they compute; what is left of Python between them does
not, and the training loop pays for it.
"""

import collections
import random
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from benchmarks.feeds import BATCH, Epoch, Job
from benchmarks.feeds._dataloader import labelled_files
from benchmarks.feeds.with_decode_jpeg import new_crop, open_picture

AHEAD = 4  # batches


def open_feed(job: Job) -> Epoch:
    files, crop = labelled_files(job.photos), new_crop()
    pool = ThreadPoolExecutor(job.workers)

    def picture(path: str) -> torch.Tensor:
        return crop(open_picture(path))

    def batch(futures: list[Future[Any]], chosen: list[int]) -> tuple[torch.Tensor, list[int]]:
        return torch.stack([future.result() for future in futures]), [files[i][1] for i in chosen]

    def epoch(number: int) -> Iterator[Any]:
        order = random.Random(number).sample(range(len(files)), len(files))
        ahead: collections.deque[Any] = collections.deque()
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            ahead.append(([pool.submit(picture, files[i][0]) for i in chosen], chosen))
            if len(ahead) > AHEAD:
                yield batch(*ahead.popleft())
        while ahead:
            yield batch(*ahead.popleft())

    return epoch
