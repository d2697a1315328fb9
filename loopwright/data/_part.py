"""``Part``: some samples of a dataset, as a dataset. Knows nothing about how they were chosen."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .._errors import ConfigError, DataError
from ._labels import counted, taken


class Part:
    """The samples of a dataset at some indices, with the classes, labels and names that they have there.

    Transforms belong to the ``Loader``, so the parts for training and validation have their own.

    Args:
        dataset: anything with ``len`` and ``dataset[index]``.
        indices: 0 to len - 1, in the order of the part; one may come more than once. ``hold_out`` and ``k_fold`` give
            such.

    >>> part = Part(["a", "b", "c"], [2, 0])
    >>> len(part), part[0], part[-1]
    (2, 'c', 'a')

    What the dataset does not have (``paths``, ``labels``, ``weights``, ...), its part does not have either.
    """

    def __init__(self, dataset: Any, indices: Sequence[int] | np.ndarray) -> None:
        self.dataset, self.indices = dataset, _checked(indices, len(dataset))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self._of(index)]

    def __repr__(self) -> str:
        return f"Part({self.dataset!r}): {len(self)} of {len(self.dataset)} samples"

    @property
    def classes(self) -> list[str]:
        return self.dataset.classes

    @property
    def class_to_idx(self) -> dict[str, int]:
        return self.dataset.class_to_idx

    @property
    def on_error(self) -> str:
        return getattr(self.dataset, "on_error", "raise")

    @cached_property
    def labels(self) -> Any:
        """The labels of these samples, as the dataset keeps them."""
        found = self.dataset.labels if hasattr(self.dataset, "labels") else self.dataset.targets  # torchvision's word
        return None if found is None else taken(found, self.indices)

    @cached_property
    def paths(self) -> Any:
        """The files of these samples."""
        return taken(self.dataset.paths, self.indices)

    @cached_property
    def weights(self) -> Any:
        """The weights of these samples, or None."""
        return None if self.dataset.weights is None else taken(self.dataset.weights, self.indices)

    def counts(self) -> dict[str, int]:
        """Samples a class."""
        return counted(self.labels, self.classes)

    def name_of(self, index: int) -> str:
        """What the dataset calls one sample, in messages and predictions."""
        return self.dataset.name_of(self._of(index))

    @property
    def undecoded(self) -> Callable[[int], Any]:
        """``undecoded(index)``: the sample with its picture's path in place of the picture, where the dataset can."""
        read = self.dataset.undecoded
        return lambda index: read(self._of(index))

    @property
    def joint(self) -> Callable[[int], Any]:
        """``joint(index)``: the sample with several pictures, not decoded, where the dataset can."""
        read = self.dataset.joint
        return lambda index: read(self._of(index))

    @property
    def together(self) -> Callable[[int, Any], Any]:
        """``together(index, pictures)``: the sample of decoded pictures, where the dataset has several a sample."""
        made = self.dataset.together
        return lambda index, pictures: made(self._of(index), pictures)

    def _of(self, index: int) -> int:
        return int(self.indices[range(len(self))[one(self, index)]])  # negative ones, and IndexError


def one(dataset: Any, index: Any) -> Any:
    """An index, which stands for one sample.

    Raises:
        DataError: a slice, which other sequences take.
    """
    if isinstance(index, slice):
        start, stop, step = index.indices(len(dataset))
        wanted = f"range({start}, {stop})" if step == 1 else f"range({start}, {stop}, {step})"
        raise DataError(
            f"a dataset gives one sample at a time: lw.Part(dataset, {wanted}) is a part of it. Found: {index}"
        )
    return index


def _checked(indices: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    values = np.asarray(indices)
    if values.ndim != 1 or (len(values) and values.dtype.kind not in "iu"):
        raise ConfigError(
            f"a part is given by whole numbers, one a sample. Found: {values.dtype} of shape {values.shape}"
            + ("; np.flatnonzero makes indices of a mask" if values.dtype.kind == "b" else "")
        )
    if len(values) and not 0 <= values.min() <= values.max() < count:
        raise ConfigError(f"the dataset has samples 0 to {count - 1}. Found: {values.min()} to {values.max()}")
    values = values.astype(np.int64)
    values.setflags(write=False)
    return values
