"""How a machine is divided between trials that run at once: threads, and GPUs where there are several.

Sums of floating-point numbers depend on how many threads they are divided among. So a sweep keeps the number that its
first trial had, whoever joins it later: the same trial gives the same bits.
"""

import os
from collections.abc import Mapping
from pathlib import Path

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def threads_each(workers: int, cores: int, environment: Mapping[str, str]) -> tuple[int, str]:
    """How many threads each trial computes with, and why.

    >>> threads_each(3, 8, {})
    (2, '8 cores, 3 trials at once')
    >>> threads_each(3, 8, {"OMP_NUM_THREADS": "1"})
    (1, 'OMP_NUM_THREADS')
    """
    given = environment.get(_THREADS[0], "")
    if given.isdecimal() and int(given) > 0:
        return int(given), _THREADS[0]
    return max(1, cores // workers), f"{cores} core{'s' * (cores != 1)}, {workers} trial{'s' * (workers != 1)} at once"


def gpus(environment: Mapping[str, str], listing: str | Path = "/proc/driver/nvidia/gpus") -> list[str]:
    """The GPUs of this machine as CUDA_VISIBLE_DEVICES names them, without asking CUDA.

    >>> gpus({"CUDA_VISIBLE_DEVICES": "2,5"})
    ['2', '5']
    """
    if _VISIBLE in environment:
        return [name.strip() for name in environment[_VISIBLE].split(",") if name.strip()]
    try:
        return [str(index) for index in range(len(list(Path(listing).iterdir())))]
    except OSError:
        return []


def environment_of(slot: int, threads: int, workers: int) -> dict[str, str]:
    """What a trial's process finds in its environment; ``slot`` counts those that run at once from 0."""
    changed: dict[str, str] = dict.fromkeys(_THREADS, str(threads))
    found = gpus(os.environ)
    if workers > 1 and len(found) > 1:
        changed[_VISIBLE] = found[slot % len(found)]
    return os.environ | changed
