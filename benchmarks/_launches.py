"""How many small operations a training loop launches a second: alone, and while a loader works flat out beside it.

The loop takes a batch, launches for nearly as long as the loader needs for the next one, then asks for it and waits a
little: so the loader never stands still. Only the launching is timed.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.feeds import BATCH, Epoch

BURST = 500  # launches between two looks at the clock
SETTLE = 1.0  # seconds in which a loader fills what it reads ahead


def count_launches(epoch: Epoch, seconds: float) -> dict[str, float]:
    """Launches a second alone and beside the loader, and images a second without and with launching."""
    before = launch_rate(seconds)
    batches: Iterator[Any] = itertools.chain.from_iterable(map(epoch, itertools.count()))
    for _ in range(8):  # more than is read ahead
        next(batches)
    began = time.perf_counter()
    for _ in range(8):
        next(batches)
    each = (time.perf_counter() - began) / 8
    launched, spent, count = 0, 0.0, 0
    began = time.perf_counter()
    while spent < 2 * seconds:
        more, took = launch_for(0.85 * each)
        launched, spent, count = launched + more, spent + took, count + 1
        next(batches)
    whole = time.perf_counter() - began
    time.sleep(SETTLE)
    after = launch_rate(seconds)  # the loader is full and rests
    return {
        "alone": (before + after) / 2,
        "beside": launched / spent,
        "images_s_alone": BATCH / each,
        "images_s_beside": count * BATCH / whole,
    }


def launch_rate(seconds: float) -> float:
    launched, took = launch_for(seconds)
    return launched / took


def launch_for(seconds: float) -> tuple[int, float]:
    """Small operations for so long: how many, and the seconds they took."""
    number, launched = torch.zeros(1), 0
    began = now = time.perf_counter()
    while now - began < seconds:
        for _ in range(BURST):
            number.add_(1.0)
        launched += BURST
        now = time.perf_counter()
    return launched, now - began
