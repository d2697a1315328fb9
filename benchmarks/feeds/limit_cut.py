"""A limit: one core takes the same crops of packed records, NumPy copying their rows and torch mirroring half of them.

No call of these two copies a part faster, and none mirrors into memory that is there: what is mirrored is copied twice.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from benchmarks._camera import SMALL
from benchmarks.feeds import BATCH, REPEATS, SHORT_SIDE, SIDE, Epoch, Job

SLOTS = 7


def open_feed(job: Job) -> Epoch:
    width = SMALL.width * SHORT_SIDE // SMALL.height
    pictures = np.ones((SMALL.photos, SHORT_SIDE, width, 3), np.uint8)
    slots = np.ones((SLOTS, BATCH, SIDE, SIDE * 3), np.uint8)
    row = np.dtype((np.void, SIDE * 3))
    to, whole = slots.view(row)[..., 0], slots.reshape(SLOTS, BATCH, -1)

    def epoch(number: int) -> Iterator[Any]:
        drawn = np.random.default_rng(number)
        order = drawn.permutation(SMALL.photos * REPEATS) % SMALL.photos
        for place, start in enumerate(range(0, len(order), BATCH)):
            chosen, slot = order[start : start + BATCH], place % SLOTS
            tops, lefts = (drawn.integers(0, room, len(chosen)).tolist() for room in (SHORT_SIDE - SIDE, width - SIDE))
            for number, (index, top, left) in enumerate(zip(chosen.tolist(), tops, lefts, strict=True)):
                part = pictures[index, top : top + SIDE, left : left + SIDE]
                if number % 2:
                    whole[slot, number] = torch.from_numpy(part).flip(1).numpy().reshape(-1)
                else:
                    to[slot, number] = part.reshape(SIDE, -1).view(row)[:, 0]
            yield None, chosen

    return epoch
