"""A limit: one core copies as many bytes as a batch holds, picture by picture in random order, into slots that are there."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks._camera import SMALL
from benchmarks.feeds import BATCH, REPEATS, SHORT_SIDE, SIDE, WHOLE, Epoch, Job

SLOTS = 7


def open_feed(job: Job) -> Epoch:
    width = SMALL.width * SHORT_SIDE // SMALL.height
    size = SHORT_SIDE * width * 3 if job.case == WHOLE else SIDE * SIDE * 3
    pictures = np.ones((SMALL.photos, size), np.uint8)
    slots = np.ones((SLOTS, BATCH, size), np.uint8)

    def epoch(number: int) -> Iterator[Any]:
        order = np.random.default_rng(number).permutation(SMALL.photos * REPEATS) % SMALL.photos
        for place, start in enumerate(range(0, len(order), BATCH)):
            chosen, slot = order[start : start + BATCH], slots[place % SLOTS]
            for row, index in enumerate(chosen.tolist()):
                slot[row] = pictures[index]
            yield None, chosen

    return epoch
