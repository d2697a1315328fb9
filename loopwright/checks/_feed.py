"""``Feed``: what one loader gives a network, read in this process and without moving the loader on. Judges nothing."""

import copy
import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset

from .._errors import ConfigError, DataError
from .._nested import leaves, map_nested
from .._seed import seed_globals
from ..data._loader import Loader
from ..data._samples import BatchKey, LoadedBatch
from ..data._source import OwnLoader, count_samples
from ..data._undecoded import PictureFile

PICTURE_CHANNELS = (1, 3)


class Feed:
    """One split: its first batches as the network gets them, single samples again, and raw pictures.

    Args:
        loader: a ``Loader``, a ``DataLoader``, or any iterable that can be iterated more than once.
        device: where the batches go.
        seed: of order and augmentation, where the loader has none.
    """

    def __init__(self, loader: Any, device: torch.device, seed: int, what: str) -> None:
        if isinstance(loader, Iterator):
            raise ConfigError(
                f"{what} is an iterator, which can be read only once, and check leaves everything as it was: give the "
                "loader or dataset itself"
            )
        self.loader, self.device, self.seed, self.what = loader, device, seed, what
        self.normalize = getattr(loader, "normalize", None) if isinstance(loader, OwnLoader) else None
        self.dataset = _map_style(loader)
        self._reader = _quiet(loader)

    def batches(self, count: int) -> list[Any]:
        """The first batches of epoch 0, in the loader's own order."""
        if isinstance(self._reader, Loader):
            found = list(itertools.islice(self._reader.epoch_batches(0), count))
        else:
            with _generators_put_back(self._reader, self.seed):
                found = [batch for batch, _ in zip(self._open(), range(count), strict=False)]
        if not found or not any(count_samples(batch) for batch in found):
            raise DataError(f"{self.what} gives no batch")
        return [self._ready(batch) for batch in found]

    def drawn(self, indices: Sequence[int], epoch: int) -> Any:
        """The batch of some samples as it is made in an epoch; None where the loader cannot be asked for samples."""
        if isinstance(self._reader, Loader):
            made = self._reader.sample_maker.batch(BatchKey(self.seed, epoch, tuple(indices)))
            return self._ready(made.data) if isinstance(made, LoadedBatch) and made.count == len(indices) else None
        if self.dataset is None or not isinstance(self.loader, DataLoader) or self.loader.collate_fn is None:
            return None
        torch.manual_seed(self.seed + epoch)
        np.random.seed((self.seed + epoch) % 2**32)
        return self._ready(self.loader.collate_fn([self.dataset[index] for index in indices]))

    def spread(self, count: int) -> Any:
        """A batch of samples from all over the split, where the loader can be asked for them; else its first batch."""
        if self.samples:
            indices = np.linspace(0, self.samples - 1, min(count, self.samples)).astype(int).tolist()
            if (batch := self.drawn(indices, 0)) is not None:
                return batch
        return self.batches(1)[0]

    @property
    def classes(self) -> list[str]:
        """The names of the classes, where the dataset has some."""
        found = getattr(unwrapped(self.dataset)[0], "classes", None) if self.dataset is not None else None
        return [str(name) for name in found] if isinstance(found, list | tuple) else []

    @property
    def samples(self) -> int:
        """Samples of the dataset, 0 where that is not known."""
        return len(self.dataset) if self.dataset is not None else 0

    def sample(self, index: int) -> tuple[PictureFile | np.ndarray | None, Any]:
        """The sample's own picture before any transform, a file or uint8 (H, W, 3), and its target; None for what it has
        not."""
        if self.dataset is None:
            return None, None
        item = self.dataset.undecoded(index) if hasattr(self.dataset, "undecoded") else self._bare[index]
        picture = _picture_of(item)
        if isinstance(picture, str) or hasattr(picture, "__fspath__"):
            picture = PictureFile(picture)
        return picture if isinstance(picture, PictureFile) else as_pixels(picture), _target_of(item)

    @cached_property
    def _bare(self) -> Any:
        return _without_transform(self.dataset)

    def raw_is_steady(self) -> bool:
        """Whether a sample's own picture is the same each time, so that it can be compared."""
        found = []
        for seed in (1, 2):
            seed_globals(seed)
            found.append([self.sample(index)[0] for index in {0, self.samples // 2}])
        return all(
            isinstance(one, PictureFile) or (one is not None and other is not None and np.array_equal(one, other))
            for one, other in zip(*found, strict=True)
        )

    def _open(self) -> Iterator[Any]:
        if isinstance(self._reader, OwnLoader):
            return (batch.data for batch in self._reader.source().open(0, self.seed, 0))
        return iter(self._reader)

    def _ready(self, batch: Any) -> Any:
        moved = map_nested(lambda tensor: tensor.to(self.device), batch, Tensor)
        return moved if self.normalize is None else self.normalize(moved)


def _quiet(loader: Any) -> Any:
    """The same batches without workers, so that the loader's own are neither started nor disturbed."""
    if isinstance(loader, Loader):
        twin = copy.copy(loader)
        twin.workers, twin.skipped = 0, []
        twin._engine, twin._engine_name = None, "auto"
        return twin
    if isinstance(loader, DataLoader) and loader.num_workers and not isinstance(loader.dataset, IterableDataset):
        sampler: Any = {"batch_sampler": loader.batch_sampler} if loader.batch_sampler else {"sampler": loader.sampler}
        return DataLoader(loader.dataset, collate_fn=loader.collate_fn, generator=loader.generator, **sampler)
    return loader


def _map_style(loader: Any) -> Any:
    dataset = getattr(loader, "dataset", None)
    if dataset is None or isinstance(dataset, IterableDataset):
        return None
    return dataset if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__") else None


def unwrapped(dataset: Any, indices: Sequence[int] | None = None) -> tuple[Any, Sequence[int]]:
    """What torch's ``Subset`` stands for: the dataset below, and which of its samples."""
    if indices is None:
        indices = range(len(dataset))
    while isinstance(dataset, Subset):
        own = dataset.indices
        dataset, indices = dataset.dataset, [int(own[index]) for index in indices]
    return dataset, indices


class _Below:
    """A ``Subset`` of a dataset whose transform was taken away."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self._dataset, self._indices = dataset, indices

    def __getitem__(self, index: int) -> Any:
        return self._dataset[self._indices[index]]


def _without_transform(dataset: Any) -> Any:
    """A copy that gives pictures as they are, by torchvision's convention that a dataset has ``transform``."""
    below, indices = unwrapped(dataset)
    for nothing in (None, _as_it_is):
        bare = copy.copy(below)
        for name in ("transform", "transforms"):
            if getattr(below, name, None) is not None:
                setattr(bare, name, nothing)
        try:
            bare[indices[0]]
        except Exception:  # it cannot do without: what it gives is taken as it is
            continue
        return _Below(bare, indices)
    return _Below(below, indices)


def _as_it_is(picture: Any, *others: Any) -> Any:
    return (picture, *others) if others else picture


def _picture_of(item: Any) -> Any:
    if isinstance(item, dict):
        return item.get("image", item.get("pixel_values"))
    return item[0] if isinstance(item, list | tuple) and item else item


def _target_of(item: Any) -> Any:
    if isinstance(item, dict):
        return next((item[name] for name in ("label", "labels", "target", "targets") if name in item), None)
    return item[-1] if isinstance(item, list | tuple) and len(item) > 1 else None


def as_pixels(picture: Any) -> np.ndarray | None:
    """A picture of any customary kind as uint8 (H, W, 3); None where it is none."""
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    if hasattr(picture, "picture"):  # loopwright's own, not decoded yet
        return np.asarray(picture.picture().convert("RGB"))
    if isinstance(picture, Tensor):
        picture = picture.detach().cpu()
        picture = (picture.float() if picture.dtype == torch.bfloat16 else picture).numpy()  # NumPy has no bfloat16
    if not isinstance(picture, np.ndarray) or picture.ndim not in (2, 3):
        return None
    return _of_array(picture)


def _of_array(array: np.ndarray) -> np.ndarray | None:
    array = array[..., None] if array.ndim == 2 else array
    if array.shape[0] in PICTURE_CHANNELS and array.shape[-1] not in PICTURE_CHANNELS:
        array = np.moveaxis(array, 0, -1)
    if array.shape[-1] not in PICTURE_CHANNELS or min(array.shape[:2]) < 8:
        return None
    if array.dtype != np.uint8:  # of any range: spread, each picture for itself, so that equal ones stay equal
        array = np.nan_to_num(array.astype(np.float32))
        low, high = np.percentile(array, (1, 99))
        array = ((array - low) / (high - low + 1e-9) * 255).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


class _generators_put_back:
    """The generators and epoch that a ``DataLoader`` and its samplers keep for themselves, as they were."""

    def __init__(self, loader: Any, seed: int) -> None:
        sampler, batch_sampler = getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)
        owners = (loader, sampler, batch_sampler, getattr(batch_sampler, "sampler", None), _map_style(loader))
        found = (getattr(owner, "generator", None) for owner in owners)
        self._generators = [generator for generator in found if isinstance(generator, Generator)]
        self._sampler, self._seed = sampler, seed

    def __enter__(self) -> None:
        self._states = [generator.get_state() for generator in self._generators]
        torch.manual_seed(self._seed)

    def __exit__(self, *_: object) -> None:
        for generator, state in zip(self._generators, self._states, strict=True):
            generator.set_state(state)


def samples_of(batch: Any) -> int:
    """How many samples a batch has."""
    return count_samples(batch)


def selected(batch: Any, indices: Sequence[int]) -> Any:
    """Some samples of a batch, in this order: of each tensor whose first axis is that of the samples."""
    count = samples_of(batch)
    chosen = torch.as_tensor(list(indices))
    return map_nested(lambda t: t[chosen.to(t.device)] if t.ndim and t.shape[0] == count else t, batch, Tensor)


def tensors_of(batch: Any) -> list[Tensor]:
    """The tensors of a batch in their order."""
    return list(leaves(batch, Tensor))
