"""A limit: a process that copies memory all the time, for about as long as decoding would take."""

import numpy as np

from benchmarks.feeds import Epoch, Job
from benchmarks.feeds._beside import working

BYTES = 2**23  # about a millisecond a picture; eight times as many are written before the same come again
PLACES = 8


def open_feed(job: Job) -> Epoch:
    source, target = (np.ones((PLACES, BYTES), np.uint8) for _ in range(2))

    def copy(paths: list[str]) -> None:
        for number in range(len(paths)):
            np.copyto(target[number % PLACES], source[number % PLACES])

    return working(job, copy)
