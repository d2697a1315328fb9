"""``Samples``: from keys to batches, the same wherever it runs. What an engine calls; knows nothing about engines."""

import random
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .._errors import DataError, LoopwrightError
from .._seed import own_rng, sample_seed, seed_globals
from ._transforms import apply


class BatchKey(NamedTuple):
    """All that decides a batch: two equal keys give equal batches, in any process, at any time."""

    seed: int
    epoch: int
    indices: tuple[int, ...]


class BatchKeys:
    """The keys of an epoch's batches in their order, made one at a time.

    >>> list(BatchKeys(0, 0, np.array([2, 0, 1]), batch_size=2, count=2))
    [BatchKey(seed=0, epoch=0, indices=(2, 0)), BatchKey(seed=0, epoch=0, indices=(1,))]
    """

    def __init__(self, seed: int, epoch: int, indices: np.ndarray, *, batch_size: int, count: int) -> None:
        self._seed, self._epoch, self._indices = seed, epoch, indices
        self._size, self._count = batch_size, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[BatchKey]:
        for start in range(0, self._count * self._size, self._size):
            yield BatchKey(self._seed, self._epoch, tuple(self._indices[start : start + self._size].tolist()))


class LoadedBatch(NamedTuple):
    """One batch on its way to the loop."""

    data: Any
    count: int  # type: ignore[override] - samples that it really holds
    drawn: int  # samples of the order that it used up: count and the skipped ones
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadFailure:
    """An error on its way from a worker: values cross processes as they are, exceptions do not."""

    message: str
    details: str  # the traceback
    ours: bool  # already a message for the user

    def reraise(self) -> NoReturn:
        raise DataError(self.message if self.ours else f"{self.message}\n\n{self.details}")


class _Unreadable(NamedTuple):
    message: str


class Samples:
    """Reads samples from a dataset, applies the transforms, makes a batch of them."""

    def __init__(
        self,
        dataset: Any,
        transform: Callable[..., Any] | None,
        sample_transform: Callable[..., Any] | None,
        collate: Callable[[Sequence[Any]], Any],
        skip_unreadable: bool,
    ) -> None:
        self._dataset, self._transform, self._sample_transform = dataset, transform, sample_transform
        self._collate, self._skip = collate, skip_unreadable

    def __getitem__(self, key: BatchKey) -> LoadedBatch | LoadFailure:
        """One batch, or the failure that kept it from being one. Seeds the global generators and draws from them."""
        try:
            samples = [self._sample(key, index) for index in key.indices]
            skipped = tuple(sample.message for sample in samples if isinstance(sample, _Unreadable))
            good = [sample for sample in samples if not isinstance(sample, _Unreadable)]
            data = self._collate(good) if good else None
            return LoadedBatch(data, len(good), len(samples), skipped)
        except LoopwrightError as error:
            return LoadFailure(str(error), traceback.format_exc(), ours=True)
        except Exception as error:
            place = f"making the batch of samples {_shown(key.indices)} failed: {type(error).__name__}: {error}"
            return LoadFailure(place, traceback.format_exc(), ours=False)

    def _sample(self, key: BatchKey, index: int) -> Any:
        seed = sample_seed(key.seed, key.epoch, index)
        seed_globals(seed)
        try:
            item = self._dataset[index]
        except DataError as error:
            if self._skip:
                return _Unreadable(str(error))
            raise
        except OSError as error:  # what the datasets of others raise for a file that cannot be read
            if self._skip:
                return _Unreadable(f"sample {index}: {error}")
            raise
        rng = own_rng(seed)
        if self._transform is not None:
            item = _on_picture(self._transform, item, rng)
        return apply(self._sample_transform, item, rng)


def _on_picture(transform: Callable[..., Any], item: Any, rng: random.Random) -> Any:
    """Transform the picture of a sample: its first element, its ``"image"``, or the sample itself."""
    if isinstance(item, Mapping):
        _check_has_image(item)
        return {**item, "image": apply(transform, item["image"], rng)}
    if is_dataclass(item):
        _check_has_image([field.name for field in fields(item)])
        return replace(item, image=apply(transform, item.image, rng))  # type: ignore[type-var] - never a class
    if isinstance(item, tuple) and hasattr(item, "_fields"):
        return type(item)(apply(transform, item[0], rng), *item[1:])
    if isinstance(item, list | tuple):
        return type(item)((apply(transform, item[0], rng), *item[1:]))
    return apply(transform, item, rng)


def _check_has_image(names: Iterable[str]) -> None:
    if "image" not in names:
        raise DataError(
            f"transform= is for the picture, which a dictionary or dataclass holds as 'image'. Found: "
            f"{', '.join(map(repr, names))}. Use sample_transform=, which is given the whole sample"
        )


def _shown(indices: Sequence[int]) -> str:
    return ", ".join(map(str, indices[:6])) + (", ..." if len(indices) > 6 else "")
