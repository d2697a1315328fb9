"""``Samples``: from keys to batches, the same wherever it runs. What an engine calls; knows nothing about engines."""

import random
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .._errors import DataError, LoopwrightError
from .._seed import SampleRandom, sample_seed, seed_globals
from ._collate import collate
from ._cutter import Cutter
from ._slice import WHOLE, Slice
from ._transforms import Cut, Geometry, Joint, Whole, apply, is_pure, leading_geometry
from ._undecoded import PictureFile
from ._view import Viewable

Note = Callable[[int], None]  # told what is begun next


def unnoted(_: int) -> None:
    """Where nobody wants to know."""


class BatchKey(NamedTuple):
    """All that decides a batch: two equal keys give equal batches, in any process, at any time."""

    seed: int
    epoch: int
    indices: tuple[int, ...]


class BatchKeys:
    """The keys of an epoch's batches in their order, made one at a time; of each batch the part of one rank.

    Where that part would be empty it has the batch's first sample, which nobody counts: every rank has as many batches.

    >>> list(BatchKeys(0, 0, np.array([2, 0, 1]), batch_size=2, count=2))
    [BatchKey(seed=0, epoch=0, indices=(2, 0)), BatchKey(seed=0, epoch=0, indices=(1,))]
    """

    def __init__(
        self, seed: int, epoch: int, indices: np.ndarray, *, batch_size: int, count: int, part: Slice = WHOLE
    ) -> None:
        self._seed, self._epoch, self._indices, self._part = seed, epoch, indices, part
        self._stride, self._count = batch_size, count
        self.batch_size = -(-batch_size // part.ranks)

    def __len__(self) -> int:
        return self._count

    def after(self, done: int) -> "BatchKeys":
        """The keys behind the first so many."""
        indices, left = self._indices[done * self._stride :], self._count - done
        return BatchKeys(self._seed, self._epoch, indices, batch_size=self._stride, count=left, part=self._part)

    def __iter__(self) -> Iterator[BatchKey]:
        for start in range(0, self._count * self._stride, self._stride):
            indices = self._indices[start : start + self._stride]
            first, end = self._part.of(len(indices))
            yield BatchKey(self._seed, self._epoch, tuple(indices[first : max(end, first + 1)].tolist()))

    def sizes(self) -> Iterator[tuple[int, int]]:
        """How many samples each whole batch has, and how many of them the part has."""
        for start in range(0, self._count * self._stride, self._stride):
            whole = min(self._stride, len(self._indices) - start)
            first, end = self._part.of(whole)
            yield whole, end - first


class LoadedBatch(NamedTuple):
    """One batch on its way to the loop."""

    data: Any
    count: int  # type: ignore[override] - samples that it really holds
    drawn: int  # samples of the order that it used up: count and the skipped ones
    skipped: tuple[str, ...] = ()
    whole: int = 0  # samples of the batch over all ranks


@dataclass(frozen=True)
class LoadFailure:
    """An error on its way from a worker: values cross processes as they are, exceptions do not."""

    message: str
    details: str  # the traceback
    ours: bool  # already a message for the user

    @classmethod
    def of(cls, error: Exception, key: BatchKey) -> "LoadFailure":
        """The failure that an exception stands for, to be called while it is being handled."""
        if isinstance(error, LoopwrightError):
            return cls(str(error), traceback.format_exc(), ours=True)
        place = f"making the batch of samples {shown(key.indices)} failed: {type(error).__name__}: {error}"
        return cls(place, traceback.format_exc(), ours=False)

    def reraise(self) -> NoReturn:
        raise DataError(self.message if self.ours else f"{self.message}\n\n{self.details}")


class Unreadable(NamedTuple):
    """What stands for a sample that is left out."""

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
        self._dataset, self.transform, self._sample_transform = dataset, transform, sample_transform
        self.collate, self._skip = collate, skip_unreadable
        #: What decides which part of a file is decoded; None where pictures come decoded.
        self.geometry = leading_geometry(transform) if hasattr(dataset, "undecoded") else None
        sides = getattr(dataset, "sides", None)
        if transform is None and sides is not None:
            self.transform = self.geometry = Whole()
        #: What ``show`` leaves it to where it only copies: parts of pictures in memory that are all alike.
        self.cutter = _cutter(dataset, self.geometry)
        #: How to have several pictures together, not decoded; None where they come decoded.
        self._joint = getattr(dataset, "joint", None) if leading_geometry(transform) is not None else None
        self._seeds_globals = not (self.geometry is not None and is_pure(transform) and sample_transform is None)

    def __getitem__(self, key: BatchKey) -> LoadedBatch | LoadFailure:
        """One batch, or the failure that kept it from being one. May seed the global generators and draw from them."""
        return self.batch(key)

    def batch(self, key: BatchKey, note: Note = unnoted) -> LoadedBatch | LoadFailure:
        """The same; ``note`` is given each sample's index before it is begun."""
        try:
            rng, samples = SampleRandom(), []
            for index in key.indices:
                note(index)
                samples.append(self.sample(index, key, rng))
            skipped = tuple(sample.message for sample in samples if isinstance(sample, Unreadable))
            good = [sample for sample in samples if not isinstance(sample, Unreadable)]
            data = self.collate(good) if good else None
            return LoadedBatch(data, len(good), len(samples), skipped)
        except Exception as error:
            return LoadFailure.of(error, key)

    def why_not_shown(self) -> str | None:
        """What keeps pictures from being put straight into a batch by threads (see ``show``); None if nothing does."""
        if not hasattr(self._dataset, "undecoded"):
            return f"{type(self._dataset).__name__} gives decoded samples (it has no undecoded(index))"
        if self._sample_transform is not None or self.collate is not collate:
            return "sample_transform and collate are functions of yours"
        if self.transform is None:
            return "without a transform pictures may differ in size"
        sized = isinstance(self.transform, Geometry) and self.transform.size > 0
        return None if sized or isinstance(self.transform, Whole) else "transform is not only a crop of loopwright's"

    def size(self) -> tuple[int, int]:
        """Height and width of what ``show`` makes."""
        if isinstance(self.geometry, Whole):
            return self._dataset.sides
        assert self.geometry is not None
        return self.geometry.size, self.geometry.size

    def show(self, key: BatchKey, rng: SampleRandom, out: np.ndarray, note: Note = unnoted) -> list[Any]:
        """Put the pictures of some samples into ``out``, uint8 (samples, H, W, 3); what else these samples hold comes
        back, or ``Unreadable``. ``note`` is given each one's place in ``out`` before it is begun.

        The same pixels as those of the batch. Touches no global generator, so threads may call it side by side.
        """
        if self.cutter is not None:
            return self.cutter.show(*key, out, note, lambda error, index: self._left_out(self._named(error, index)))
        rests = []
        for number, (index, room) in enumerate(zip(key.indices, out, strict=True)):
            note(number)
            rests.append(self._show_one(index, key, rng, room))
        return rests

    def _show_one(self, index: int, key: BatchKey, rng: SampleRandom, out: np.ndarray) -> Any:
        assert self.geometry is not None
        try:
            picture, *rest = self._dataset.undecoded(index)
            source = _viewable(picture)
            view = self.geometry.plan(source.width, source.height, rng.go_to(key.seed, key.epoch, index))
            source.show(view, out)
        except DataError as error:
            return self._left_out(self._named(error, index))
        return rest

    def sample(self, index: int, key: BatchKey, rng: SampleRandom) -> Any:
        """One sample as it goes to ``collate``, or ``Unreadable``."""
        if self._seeds_globals:
            seed_globals(sample_seed(key.seed, key.epoch, index))
        rng.go_to(key.seed, key.epoch, index)
        try:
            if self.geometry is not None:
                picture, *rest = self._dataset.undecoded(index)
                item = (apply(self.transform, _viewable(picture), rng), *rest)
                return apply(self._sample_transform, item, rng)
            if self._joint is not None:
                return apply(self._sample_transform, apply(self.transform, self._joint(index), rng), rng)
            item = self._dataset[index]
        except DataError as error:
            return self._left_out(self._named(error, index))
        except OSError as error:  # what the datasets of others raise for a file that cannot be read
            return self._left_out(error, f"sample {index}: {error}")
        if self.transform is not None:
            item = _on_picture(self.transform, item, rng)
        return apply(self._sample_transform, item, rng)

    def name_of(self, index: int) -> str:
        """What the dataset calls a sample, its file as a rule; or its number."""
        return self._own_name(index) or f"sample {index}"

    @property
    def skips_unreadable(self) -> bool:
        """Whether samples are left out that cannot be read; else they are errors."""
        return self._skip

    def _own_name(self, index: int) -> str:
        return str(self._dataset.name_of(index)) if hasattr(self._dataset, "name_of") else ""

    def _named(self, error: DataError, index: int) -> DataError:
        """The error with the sample's name, which who decides on a crop does not know."""
        name = self._own_name(index)
        return error if name in str(error) else DataError(f"{name}: {error}")

    def _left_out(self, error: Exception, message: str = "") -> Unreadable:
        if self._skip:
            return Unreadable(message or str(error))
        raise error


def _cutter(dataset: Any, geometry: Geometry | None) -> Cutter | None:
    if isinstance(geometry, Cut) and geometry.placed and getattr(dataset, "pictures", None) is not None:
        return Cutter(dataset, geometry)
    return None


def _viewable(picture: Any) -> Viewable:
    return PictureFile(picture) if isinstance(picture, str | Path) else picture


def _on_picture(transform: Callable[..., Any], item: Any, rng: random.Random) -> Any:
    """Transform the picture of a sample: its first element, its ``"image"``, or the sample itself; or all together."""
    if isinstance(item, Joint):
        return apply(transform, item, rng)
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


def shown(indices: Sequence[int]) -> str:
    """The first few, in words."""
    return ", ".join(map(str, indices[:6])) + (", ..." if len(indices) > 6 else "")
