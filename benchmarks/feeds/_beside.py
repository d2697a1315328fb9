"""Limits of what a loop keeps beside a process on the other core, which tells of nothing but the end of each batch."""

import fcntl
import multiprocessing
import os
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.feeds import BATCH, Epoch, Job
from benchmarks.feeds._dataloader import labelled_files

TOLD, PIPE = b"." * 512, 4096  # bytes: eight batches fit into the smallest pipe, then it waits


def working(job: Job, work: Callable[[list[str]], None]) -> Epoch:
    """Batches without pictures, each told when ``work`` has done what a batch of files takes."""
    files = [path for path, _ in labelled_files(job.photos)]

    def live(given: int) -> None:
        for start in range(0, len(files), BATCH):
            work(files[start : start + BATCH])
            os.write(given, TOLD)

    def epoch(_: int) -> Iterator[Any]:
        taken, given = os.pipe()
        fcntl.fcntl(given, fcntl.F_SETPIPE_SZ, PIPE)
        process = multiprocessing.get_context("fork").Process(target=live, args=(given,), daemon=True)
        process.start()
        try:
            for start in range(0, len(files), BATCH):
                os.read(taken, len(TOLD))
                yield None, range(start, min(start + BATCH, len(files)))
        finally:
            process.kill()
            process.join()
            os.close(taken)
            os.close(given)

    return epoch
