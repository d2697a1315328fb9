"""A limit: threads that decode every picture in full, from memory into memory that is there, and do nothing else."""

import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from benchmarks.feeds import BATCH, Epoch, Job
from benchmarks.feeds._dataloader import labelled_files


def open_feed(job: Job) -> Epoch:
    return decoding(job, reduction=1)


def decoding(job: Job, reduction: int) -> Epoch:
    """Batches without pictures: only that they were decoded counts."""
    files, contents = labelled_files(job.photos), {}
    inodes = [os.stat(path).st_ino for path, _ in files]  # several names may lead to one file: it is held once
    for inode, (path, _) in zip(inodes, files, strict=True):
        if inode not in contents:
            contents[inode] = Path(path).read_bytes()
    height, width, _, _ = simplejpeg.decode_jpeg_header(contents[inodes[0]])
    least = (0, 0) if reduction == 1 else (-(-height // reduction), -(-width // reduction))

    def work(starts: Iterator[int], done: queue.SimpleQueue[range], ended: threading.Event) -> None:
        room = np.empty(height * width * 3, np.uint8)
        for start in starts:
            batch = range(start, min(start + BATCH, len(files)))
            for index in batch:
                simplejpeg.decode_jpeg(contents[inodes[index]], "RGB", False, False, *least, 1, room)
                if ended.is_set():
                    return
            done.put(batch)

    def epoch(_: int) -> Iterator[Any]:
        starts, done, ended = iter(range(0, len(files), BATCH)), queue.SimpleQueue(), threading.Event()
        threads = [threading.Thread(target=work, args=(starts, done, ended)) for _ in range(job.workers)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(0, len(files), BATCH):
                yield None, done.get()
        finally:
            ended.set()
            for thread in threads:
                thread.join()

    return epoch
