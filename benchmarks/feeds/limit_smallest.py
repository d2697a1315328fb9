"""A limit: threads that decode every picture at the smallest scale there is, 1/8, and do nothing else."""

from benchmarks.feeds import Epoch, Job
from benchmarks.feeds.limit_decode import decoding


def open_feed(job: Job) -> Epoch:
    return decoding(job, reduction=8)
