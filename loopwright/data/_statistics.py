"""``mean_std``: the mean and standard deviation of a data set's pixels, exactly. Reads samples; normalises nothing."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from .._errors import ConfigError, DataError
from .._nested import leaves
from .._seed import permutation
from ._choice import choose_engine, default_workers
from ._loader import Loader
from ._picture import to_rgb
from ._samples import BatchKeys, LoadFailure, Samples

_AT_ONCE = 16  # samples
_ROWS = 1 << 16  # pixels squared in one go: bounds the memory, and keeps sums of 16-bit squares exact in float64
_CHANNELS = (1, 3, 4)


class Tally(NamedTuple):
    """Exact sums over pixels, one a channel. Integers stay integers; sums of floats are fractions, which round nothing."""

    pixels: int
    sums: tuple[int | Fraction, ...]
    squares: tuple[int | Fraction, ...]
    scale: int  # the value that stands for 1.0


def mean_std(
    dataset_or_loader: Any, *, limit: int | None = None, transform: Any = None, workers: int | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, over all pixels of all pictures, for pictures in 0..1.

    They are what ``lw.Normalize(mean, std)`` takes. 8-bit and 16-bit pictures are summed in integers, so the result has
    the same bits for any number of workers and any order. The deviation is that of the population: the square root of
    mean(x ** 2) - mean(x) ** 2, computed in fractions and rounded once.

    Args:
        dataset_or_loader: a dataset (its pictures as they are, whole), a ``Loader`` (the samples and transforms of its
            first epoch), or any iterable of batches (N, C, H, W), such as torch's ``DataLoader``.
        limit: look at so many samples, chosen with a fixed seed. Default: all.
        transform: for the pictures of a dataset, as ``Loader``'s: a crop weighs each picture alike, and is faster.
        workers: as ``Loader``'s. Default: by the number of cores.

    Returns:
        Two tuples of floats, one number a channel.

    Raises:
        DataError: no picture in a sample, pictures of another number of channels, or floats that are not in 0..1.

    >>> white, black = np.full((1, 2, 2), 255, np.uint8), np.zeros((1, 2, 2), np.uint8)
    >>> mean_std([white, black], workers=0)
    ((0.5,), (0.5,))
    """
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ConfigError(f"limit must be a whole number of samples, 1 or more. Found: {limit!r}")
    if isinstance(dataset_or_loader, Loader):
        if transform is not None:
            raise ConfigError("a Loader has its transform already: leave transform= out, or give its dataset")
        tallies = _of_loader(dataset_or_loader, limit, workers)
    elif hasattr(dataset_or_loader, "__getitem__"):
        on_error = getattr(dataset_or_loader, "on_error", "raise")
        samples = Samples(dataset_or_loader, transform, None, _tallied, on_error == "skip")
        tallies = _read(samples, np.arange(len(dataset_or_loader)), 0, limit, workers)
    else:
        if limit is not None or transform is not None:
            raise ConfigError("limit= and transform= are for datasets: an iterable of batches is taken as it is")
        tallies = (_tally(picture) for batch in dataset_or_loader for picture in _pictures_of(batch))
    return _result(tallies)


def _of_loader(loader: Loader, limit: int | None, workers: int | None) -> Iterable[Tally]:
    """Of the loader's samples in its first epoch."""
    made, seed = loader.sample_maker, loader.seed or 0
    samples = Samples(loader.dataset, made.transform, made._sample_transform, _tallied, made._skip)
    workers = loader.workers if workers is None else workers
    return _read(samples, loader._order.indices(seed, 0), seed, limit, workers)


def _read(samples: Samples, indices: np.ndarray, seed: int, limit: int | None, workers: int | None) -> Iterable[Tally]:
    if limit is not None and limit < len(indices):
        indices = indices[np.sort(permutation(0, 0, len(indices))[:limit])]
    keys = BatchKeys(seed, 0, indices, batch_size=_AT_ONCE, count=-(-len(indices) // _AT_ONCE))
    engine, _ = choose_engine(samples, default_workers(samples) if workers is None else workers)
    try:
        for batch in engine.batches(keys):
            if isinstance(batch, LoadFailure):
                batch.reraise()
            yield from batch.data or ()
    finally:
        engine.close()


def _result(tallies: Iterable[Tally]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    totals: dict[int, Tally] = {}
    channels = None
    for tally in tallies:
        if channels not in (None, len(tally.sums)):
            raise DataError(
                f"pictures of {channels} and of {len(tally.sums)} channels: a transform that makes them alike, or "
                "lw.open_picture, which gives RGB, comes first"
            )
        channels = len(tally.sums)
        totals[tally.scale] = _added(totals[tally.scale], tally) if tally.scale in totals else tally
    pixels = sum(total.pixels for total in totals.values())
    if not pixels or channels is None:
        raise DataError("there is no picture to take the mean of")
    means, stds = [], []
    for channel in range(channels):
        mean = sum(Fraction(t.sums[channel]) / t.scale for t in totals.values()) / pixels
        power = sum(Fraction(t.squares[channel]) / t.scale**2 for t in totals.values()) / pixels
        means.append(float(mean))
        stds.append(math.sqrt(max(0.0, float(power - mean * mean))))
    return tuple(means), tuple(stds)


def _added(one: Tally, other: Tally) -> Tally:
    return Tally(
        one.pixels + other.pixels,
        tuple(a + b for a, b in zip(one.sums, other.sums, strict=True)),
        tuple(a + b for a, b in zip(one.squares, other.squares, strict=True)),
        one.scale,
    )


def _tallied(samples: Sequence[Any]) -> list[Tally]:
    """In place of collating: of a batch only its sums leave the worker, so pictures may differ in size."""
    return [_tally(_picture_in(sample)) for sample in samples]


def _picture_in(sample: Any) -> Any:
    """The picture of a sample: its ``"image"``, its first element, or the sample itself."""
    if isinstance(sample, Mapping) or is_dataclass(sample):
        names = list(sample) if isinstance(sample, Mapping) else [field.name for field in fields(sample)]
        if "image" not in names:
            raise DataError(f"a sample of {', '.join(map(str, names))} has no 'image' to take the mean of")
        return sample["image"] if isinstance(sample, Mapping) else getattr(sample, "image")  # noqa: B009 - checked above
    return sample[0] if isinstance(sample, list | tuple) and sample else sample


def _pictures_of(batch: Any) -> Iterable[Any]:
    tensor = next((leaf for leaf in leaves(batch, Tensor) if leaf.ndim == 4), None)
    if tensor is None:
        raise DataError(f"a batch of type {type(batch).__name__} holds no pictures: a tensor (N, C, H, W)")
    return iter(tensor)


def _tally(picture: Any) -> Tally:
    values = _pixels(picture)  # (pixels, channels)
    if values.dtype == np.bool_:
        values = values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "f":
        return _tally_of_floats(values)
    if values.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"a picture of dtype {values.dtype} has no range of its own: give uint8, uint16 or floats in 0..1"
        )
    totals = [[0] * values.shape[1] for _ in range(2)]
    for start in range(0, len(values), _ROWS):
        part = values[start : start + _ROWS].astype(np.float64)  # whole numbers below 2 ** 53: their sums are exact
        sums, squares = part.sum(0), np.einsum("nc,nc->c", part, part)
        totals = [
            [a + int(b) for a, b in zip(*pair, strict=True)] for pair in zip(totals, (sums, squares), strict=True)
        ]
    return Tally(len(values), tuple(totals[0]), tuple(totals[1]), int(np.iinfo(values.dtype).max))


def _tally_of_floats(values: np.ndarray) -> Tally:
    values = np.ascontiguousarray(values.T, dtype=np.float64)
    if not (values.size and 0 <= values.min() <= values.max() <= 1):  # NaN fails it, too
        raise DataError(
            "a picture of floats that are not all in 0..1: is it normalised already? The mean is taken of pictures before"
        )
    sums, squares = (tuple(Fraction(float(plane.sum())) for plane in planes) for planes in (values, values * values))
    return Tally(values.shape[1], sums, squares, 1)


def _pixels(picture: Any) -> np.ndarray:
    """Pixels of a picture or tensor, (pixels, channels)."""
    if isinstance(picture, Image.Image):
        picture = np.asarray(picture if picture.mode in ("L", "RGB") else to_rgb(picture))
        return picture.reshape(-1, 1 if picture.ndim == 2 else 3)
    first = isinstance(picture, Tensor)  # torch's order of channels; that of arrays is the other
    if isinstance(picture, Tensor):
        picture = picture.detach().cpu()
        picture = (picture.float() if picture.is_floating_point() and picture.itemsize < 4 else picture).numpy()
    if not isinstance(picture, np.ndarray):
        raise DataError(
            f"a sample of type {type(picture).__name__} holds no picture: it comes first, or is the 'image'"
        )
    if picture.ndim == 2:
        return picture.reshape(-1, 1)
    for axis in (0, 2) if first else (2, 0):
        if picture.ndim == 3 and picture.shape[axis] in _CHANNELS:
            return np.moveaxis(picture, axis, -1).reshape(-1, picture.shape[axis])
    raise DataError(f"an array of shape {picture.shape} is no picture: give (H, W), (C, H, W) or (H, W, C)")
