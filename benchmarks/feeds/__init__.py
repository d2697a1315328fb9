"""The same batches, made by each system as its own documentation would: one file a system.

Each file has

    open_feed(job)     a function that, called with the number of an epoch, iterates over its (pictures, labels)
    prepare(job)       where the system reads a format of its own: writes it into `job.prepared`, once

and imports its system at the top. This list imports none of them. Every photograph is a class of its own, so labels say
which samples a batch holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._camera import SMALL

BATCH, SIDE, SHORT_SIDE = 64, 224, 256
REPEATS = 16  # how often an epoch over packed records visits each of them: else it would end within milliseconds

COLD_SMALL, COLD_LARGE = "cold-500x375", "cold-2000x1500"
RESIZED, CROPPED, WHOLE = "packed-resized", "packed-cropped", "packed-whole"
COLD, PACKED = (COLD_SMALL, COLD_LARGE), (RESIZED, CROPPED, WHOLE)
TITLES = {
    COLD_SMALL: "from 500x375 JPEG files: RandomResizedCrop 224 + flip",
    COLD_LARGE: "from 2000x1500 JPEG files: RandomResizedCrop 224 + flip",
    RESIZED: f"packed raw at short side {SHORT_SIDE}: RandomResizedCrop 224 + flip",
    CROPPED: f"packed raw at short side {SHORT_SIDE}: crop 224 + flip",
    WHOLE: f"packed raw at short side {SHORT_SIDE}: whole records",
}


@dataclass(frozen=True)
class Job:
    """What a feed is asked for."""

    case: str
    photos: Path  # a folder of class folders, each with one photograph
    prepared: Path  # what `prepare` wrote
    setting: str  # one of the feed's settings
    workers: int  # processes or threads

    @property
    def repeats(self) -> int:
        return REPEATS if self.case in PACKED else 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a batch, its axes sorted: systems differ in where the channels stand."""
        width = SMALL.width * SHORT_SIDE // SMALL.height
        height, width = (SHORT_SIDE, width) if self.case == WHOLE else (SIDE, SIDE)
        return tuple(sorted((BATCH, height, width, 3)))


Epoch = Callable[[int], Iterator[tuple[Any, Any]]]


@dataclass(frozen=True)
class Feed:
    """One row of the tables: its file in this folder, its title, what must be installed, the cases it is in.

    Args:
        cases: the cases it is in; none where it is only for the loop's launches.
        settings: ways to use it; the first one is what won when they were compared, `--settings` compares them again.
        pictures: the type of what a batch holds; none where only images are counted.
        exact: whether it promises every sample once an epoch.
        workers: processes or threads that load; 1 is for what is compared with a limit of one core.
    """

    module: str
    title: str
    packages: tuple[str, ...]
    cases: tuple[str, ...] = COLD
    settings: tuple[str, ...] = ("default",)
    pictures: str | None = "uint8"
    exact: bool = True
    workers: int = 2
    prepares: bool = False
    launches: bool = False  # whether the launches of the loop are counted beside it
    is_limit: bool = False

    @property
    def usual_setting(self) -> str:
        return self.settings[0]

    def prepared(self, photos: Path, case: str) -> Path:
        """Where it writes its own format: a folder for each set of photographs and kind of record."""
        return photos.parent / f"{photos.name}-{self.module}-{'packed' if case in PACKED else 'files'}"


BASE = Feed("with_torchvision", "DataLoader, Pillow", ("torchvision", "pillow"), launches=True)
OURS = Feed("with_loopwright", "loopwright", ("loopwright",), launches=True)
OURS_PACKED = Feed("with_loopwright", "loopwright, packed", ("loopwright",), PACKED, prepares=True)
OURS_ONE_THREAD = Feed(
    "with_loopwright", "loopwright, packed, one thread", ("loopwright",), (CROPPED, WHOLE), workers=1, prepares=True
)
FFCV_RAW = Feed("with_ffcv", "FFCV raw", ("ffcv", "numba"), (RESIZED, WHOLE), ("3 ahead", "1 ahead"), prepares=True)
THREADS = Feed("with_threads", "threads in the process, decode_jpeg", ("torchvision",), launches=True)
DECODE_LIMIT = Feed("limit_decode", "limit: full decode only", ("simplejpeg",), pictures=None, is_limit=True)
COPY_LIMIT = Feed("limit_copy", "limit: memcpy, one core", ("numpy",), PACKED, pictures=None, workers=1, is_limit=True)
CUT_LIMIT = Feed(
    "limit_cut", "limit: NumPy's copies, torch's flips", ("torch",), (CROPPED,), pictures=None, workers=1, is_limit=True
)
COMPUTE_LIMIT = Feed(
    "limit_compute", "limit: a process that computes in its cache", (), (), pictures=None, launches=True, is_limit=True
)
STREAM_LIMIT = Feed(
    "limit_stream", "limit: a process that copies memory", (), (), pictures=None, launches=True, is_limit=True
)
FEEDS = (
    BASE,
    Feed("with_usual_script", "DataLoader, Pillow, ToTensor, Normalize", ("torchvision", "pillow"), pictures="float32"),
    Feed("with_decode_jpeg", "DataLoader, decode_jpeg, v2", ("torchvision",)),
    Feed("with_pillow_draft", "DataLoader, Pillow draft", ("pillow",)),
    THREADS,
    Feed("with_webdataset", "WebDataset", ("webdataset",), settings=("decode_jpeg", "pillow"), prepares=True),
    Feed("with_litdata", "LitData", ("litdata",), settings=("decode_jpeg", "pillow"), prepares=True),
    Feed("with_spdl", "SPDL", ("spdl", "spdl-io"), settings=("decode_jpeg", "ffmpeg"), launches=True),
    Feed("with_dali", "DALI CPU", ("nvidia-dali-cuda120",), settings=("random crop decoder", "whole decoder")),
    Feed("with_ffcv", "FFCV JPEG", ("ffcv", "numba"), settings=("3 ahead", "1 ahead"), prepares=True),
    FFCV_RAW,
    OURS,
    OURS_PACKED,
    OURS_ONE_THREAD,
    DECODE_LIMIT,
    Feed("limit_smallest", "limit: decode at 1/8 only", ("simplejpeg",), pictures=None, is_limit=True),
    Feed(
        "limit_apart",
        "limit: a process that decodes, and no more",
        ("simplejpeg",),
        (COLD_SMALL,),
        pictures=None,
        workers=1,
        launches=True,
        is_limit=True,
    ),
    COMPUTE_LIMIT,
    STREAM_LIMIT,
    COPY_LIMIT,
    CUT_LIMIT,
)
