"""One measurement, in a process of its own: opens a feed, takes its batches, writes what was seen as JSON.

python -m benchmarks.feeds SYSTEM CASE FOLDER RESULT.json [--setting NAME] [--workers N] [--measure rate] [--seconds S]

FOLDER is the folder of photographs; what the system prepares lies beside it.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import importlib
import itertools
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.feeds import BATCH, COLD, FEEDS, PACKED, Epoch, Feed, Job

CORES = 2
RATE, EPOCH, LAUNCHES, PREPARE = "rate", "epoch", "launches", "prepare"
LEAST_BATCHES = 12  # that are counted


def main() -> None:
    options = arguments().parse_args()
    feed = next(f for f in FEEDS if f.module == options.system and (not f.cases or options.case in f.cases))
    job = Job(
        options.case, options.folder, feed.prepared(options.folder, options.case), options.setting, options.workers
    )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    module = importlib.import_module(f"benchmarks.feeds.{feed.module}")
    if options.measure == PREPARE:
        prepare(module, job)
        found = {}
    else:
        found = measure(module, feed, job, options)
    options.result.write_text(json.dumps(found))


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=sorted({feed.module for feed in FEEDS}))
    parser.add_argument("case", choices=COLD + PACKED)
    parser.add_argument("folder", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--setting", default="default")
    parser.add_argument("--workers", type=int, default=CORES)
    parser.add_argument("--measure", choices=(RATE, EPOCH, LAUNCHES, PREPARE), default=RATE)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a measurement, at least")
    parser.add_argument("--batches", type=int, default=LEAST_BATCHES, help="of a measurement, at least")
    return parser


def prepare(module: Any, job: Job) -> None:
    """Lets the system write its format, aside and then under its name: a folder that is there is complete."""
    if job.prepared.exists():
        return
    aside = job.prepared.with_name(job.prepared.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    module.prepare(dataclasses.replace(job, prepared=aside))
    aside.rename(job.prepared)


def measure(module: Any, feed: Feed, job: Job, options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for: the rate, one whole epoch (whose memory is watched from outside), or the loop's launches."""
    import torch

    torch.set_num_threads(1)
    began = time.perf_counter()
    epoch = module.open_feed(job)
    opened = time.perf_counter() - began
    if options.measure == LAUNCHES:
        from benchmarks._launches import count_launches

        return count_launches(epoch, options.seconds)
    checks, whole = Checks(feed, job), options.measure == EPOCH
    figures = take_epoch(epoch, checks) if whole else time_batches(epoch, checks, options.seconds, options.batches)
    return figures | {"open_s": opened, "problems": checks.problems(complete=whole)}


def time_batches(epoch: Epoch, checks: Checks, seconds: float, least: int = LEAST_BATCHES) -> dict[str, float]:
    """Images a second from the end of the first batch on; where an epoch ends the next begins, and that counts.

    The batches counted are even in number: two workers finish theirs at about the same time, so an odd one would be
    had for nothing.
    """
    asked = time.perf_counter()
    batches = numbered(epoch)
    checks.saw(*next(batches))
    first = last = time.perf_counter()
    images = count = 0
    while count < least or count % 2 or last - first < seconds:
        number, batch = next(batches)
        images += checks.saw(number, batch)
        last, count = time.perf_counter(), count + 1
    batches.close()
    return {"images_s": images / (last - first), "first_s": first - asked, "batches": count}


def take_epoch(epoch: Epoch, checks: Checks) -> dict[str, float]:
    """One epoch to its end."""
    for batch in epoch(0):
        checks.saw(0, batch)
    return {}


def numbered(epoch: Epoch) -> Iterator[tuple[int, Any]]:
    for number in itertools.count():
        for batch in epoch(number):
            yield number, batch


class Checks:
    """Whether batches are what they should be. Labels are looked at afterwards, pixels in the first batch alone."""

    def __init__(self, feed: Feed, job: Job) -> None:
        self._feed, self._job = feed, job
        self._labels: dict[int, list[np.ndarray]] = collections.defaultdict(list)
        self._found: set[str] = set()

    def saw(self, epoch: int, batch: Any) -> int:
        """One batch; the number of its images."""
        pictures, labels = batch
        self._labels[epoch].append(np.array(labels))  # a copy: some systems use the memory again
        if self._feed.pictures is None:
            return len(labels)
        if tuple(sorted(pictures.shape)) != self._job.shape and len(labels) == BATCH:
            self._found.add(f"a batch has the shape {tuple(pictures.shape)}")
        if str(pictures.dtype).removeprefix("torch.") != self._feed.pictures:
            self._found.add(f"a batch is {pictures.dtype}")
        if len(self._labels) == len(self._labels[epoch]) == 1:
            self._look_at(np.asarray(pictures))
        return len(labels)

    def _look_at(self, pictures: np.ndarray) -> None:
        spread = pictures.reshape(len(pictures), -1).std(axis=1)
        if (spread == 0).any():
            self._found.add("a picture has one colour")
        means = pictures.reshape(len(pictures), -1).mean(axis=1)
        if len(set(means.tolist())) < len(means) // 2:
            self._found.add("pictures of a batch are the same")

    def problems(self, complete: bool) -> list[str]:
        """What was wrong; every sample must come as often as it should in whole epochs, and never more often."""
        expected, repeats = len(list(self._job.photos.iterdir())), self._job.repeats
        last = max(self._labels)
        for number, batches in self._labels.items():
            times = np.bincount(np.concatenate(batches).astype(np.int64), minlength=expected)
            if not self._feed.exact or not self._feed.pictures:
                continue
            if len(times) > expected or times.max() > repeats:
                self._found.add(f"samples came too often: {int(np.clip(times - repeats, 0, None).sum())}")
            if (complete or number < last) and times.min() < repeats:
                self._found.add(f"samples of an epoch never came: {int((times < repeats).sum())} of {expected}")
        return sorted(self._found)


if __name__ == "__main__":
    main()
