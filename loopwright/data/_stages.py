"""How long each stage of making a batch takes, one picture after the other in this process. Measures only."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._seed import SampleRandom, preserved_rng
from ._engine import one_thread
from ._loader import Loader
from ._picture import read_file
from ._samples import BatchKey
from ._transforms import Geometry
from ._undecoded import PictureFile


class Stages(NamedTuple):
    """Seconds a picture in each stage, one thread; the file's bytes; NaN where a stage cannot be told from the next."""

    read: float
    decode: float
    augment: float
    collate: float
    file_bytes: float

    @property
    def total(self) -> float:
        return float(np.nansum([self.read, self.decode, self.augment, self.collate]))


def measure_stages(loader: Loader, count: int = 64) -> Stages:
    """Make ``count`` pictures of a loader's dataset, spread over it, stage by stage.

    Datasets with files (``undecoded``) are told apart; of others reading and decoding are one stage, ``decode``.
    """
    indices = np.linspace(0, len(loader.dataset) - 1, min(count, len(loader.dataset))).astype(int).tolist()
    key = BatchKey(0, 0, tuple(indices))
    samples = loader.sample_maker
    with preserved_rng(), one_thread():
        samples[BatchKey(0, 0, tuple(indices[:4]))]  # imports, page cache, memory
        whole = _seconds(lambda index: samples.sample(index, key, SampleRandom()), indices)
        made = [samples.sample(index, key, SampleRandom()) for index in indices]
        together = _seconds(lambda _: samples.collate(made), range(3)) / len(made)
    files = _files(loader.dataset, indices) if samples.geometry is not None else {}
    if not files:
        given = _seconds(lambda index: loader.dataset[index], indices)
        return Stages(float("nan"), given, max(0.0, whole - given), together, float("nan"))
    with one_thread():
        read = _seconds(read_file, files.values())
        contents = {index: (file, read_file(file)) for index, file in files.items()}
        decode = _seconds(lambda index: _decode(*contents[index], samples.geometry, index), files)  # type: ignore[arg-type]
    size = float(np.mean([Path(file).stat().st_size for file in files.values()]))
    return Stages(read, min(decode, whole - read), max(0.0, whole - read - decode), together, size)


def _decode(file: str | Path, data: bytes, geometry: Geometry, index: int) -> None:
    """The part that the geometry shows, at the size that it is decoded at."""
    picture = PictureFile(file, data)
    view = geometry.plan(picture.width, picture.height, SampleRandom().go_to(0, 0, index))
    (left, top, right, bottom), by = view.box, picture.exact(view.reduction)
    picture.show(view._replace(width=(right - left) // by, height=(bottom - top) // by, flip=False, turns=0))


def _files(dataset: Any, indices: Sequence[int]) -> dict[int, str | Path]:
    pictures = {index: dataset.undecoded(index)[0] for index in indices}
    return {index: picture for index, picture in pictures.items() if isinstance(picture, str | Path)}


def _seconds(work: Callable[[Any], Any], items: Iterable[Any]) -> float:
    """The median of what each item takes."""
    taken = []
    for item in items:
        began = time.perf_counter()
        work(item)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))
