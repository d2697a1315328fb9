"""Labels: the class of each sample, or for ``LabelSets`` its classes. Knows nothing about tables and pictures."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from .._errors import DataError


class LabelSets(Sequence[tuple[int, ...]]):
    """The classes of each sample, any number of them: an immutable sequence of tuples of class indices, in two arrays.

    Args:
        sets: class indices of each sample, in any order; one that comes twice counts once.
        num_classes: how many there are in all.

    >>> labels = LabelSets([(2, 0), (), (1,)], num_classes=3)
    >>> labels[0], labels.multi_hot(0).tolist(), labels.counts().tolist()
    ((0, 2), [1.0, 0.0, 1.0], [1, 1, 1])
    """

    def __init__(self, sets: Iterable[Iterable[int]], num_classes: int) -> None:
        members = [sorted(set(one)) for one in sets]
        self.num_classes = num_classes
        self._ends = np.cumsum([0, *map(len, members)], dtype=np.int64)
        self._members = np.array([member for one in members for member in one], dtype=np.int32)
        if len(self._members) and not 0 <= self._members.min() <= self._members.max() < num_classes:
            raise DataError(
                f"class indices must be 0 to {num_classes - 1}. Found: {self._members.min()} to {self._members.max()}"
            )

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> tuple[int, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> "LabelSets": ...
    def __getitem__(self, index: int | slice) -> "tuple[int, ...] | LabelSets":
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        return tuple(self._at(index).tolist())

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return (self[index] for index in range(len(self)))

    def multi_hot(self, index: int) -> np.ndarray:
        """1 for each class of one sample and 0 for the others: float32 (num_classes,)."""
        hot = np.zeros(self.num_classes, dtype=np.float32)
        hot[self._at(index)] = 1
        return hot

    def counts(self) -> np.ndarray:
        """Samples of each class: int64 (num_classes,)."""
        return np.bincount(self._members, minlength=self.num_classes)

    def take(self, indices: Sequence[int] | np.ndarray) -> "LabelSets":
        """Those at ``indices``, in this order."""
        return LabelSets((self._at(int(index)).tolist() for index in indices), self.num_classes)

    def _at(self, index: int) -> np.ndarray:
        place = range(len(self))[index]  # negative ones, and IndexError
        return self._members[self._ends[place] : self._ends[place + 1]]

    def __repr__(self) -> str:
        return f"LabelSets: {len(self)} samples, {self.num_classes} classes"


def labels_of(source: Any) -> Any:
    """The labels of a dataset, in its ``labels`` or (as torchvision says) ``targets``; labels themselves as they are."""
    for name in ("labels", "targets"):
        if (found := getattr(source, name, None)) is not None:
            return found
    if isinstance(source, Sequence | np.ndarray | Tensor) and not isinstance(source, str):
        return source
    raise DataError(f"a {type(source).__name__} has no labels: give a dataset with .labels, or one label a sample")


def alike(classes: Iterable[str]) -> list[tuple[str, ...]]:
    """Names that are one when capitals, spaces and Unicode forms do not count: slips, nearly always.

    >>> alike(["fox", "Fox", "red  fox", "red fox", "wolf"])
    [('fox', 'Fox'), ('red  fox', 'red fox')]
    """
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    return [tuple(names) for names in groups.values() if len(names) > 1]


def class_indices(source: Any) -> np.ndarray:
    """One number a class, for each sample: int64 (n,). Labels that are no indices are numbered in sorted order.

    >>> class_indices(["dog", "cat", "dog"]).tolist()
    [1, 0, 1]
    """
    labels = labels_of(source)
    if isinstance(labels, LabelSets):
        raise DataError("samples with several labels each are of no single class")
    values = labels.numpy(force=True) if isinstance(labels, Tensor) else np.asarray(labels)
    if values.ndim != 1 or (len(values) and values.dtype.kind not in "iubU"):
        raise DataError(
            f"expected one class a sample: whole numbers or names. Found: {values.dtype} of shape {values.shape}"
        )
    if values.dtype.kind in "iu" and (not len(values) or values.min() >= 0):
        return values.astype(np.int64)
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def counted(labels: Any, classes: Sequence[str]) -> dict[str, int]:
    """Samples of each class, by its name; empty where labels are no classes."""
    if isinstance(labels, LabelSets):
        return dict(zip(classes, labels.counts().tolist(), strict=True))
    if not classes:
        return {}
    numbers = Counter(labels.tolist() if isinstance(labels, np.ndarray | Tensor) else labels)
    return {name: numbers[index] for index, name in enumerate(classes)}


def taken(values: Any, indices: np.ndarray) -> Any:
    """The values at ``indices``, as a sequence of the same kind."""
    if isinstance(values, Tensor):
        return values[torch.tensor(indices, device=values.device)]
    if isinstance(values, np.ndarray):
        return values[indices]
    if isinstance(values, Mapping):  # the files of several pictures a sample
        return {name: taken(each, indices) for name, each in values.items()}
    return values.take(indices) if hasattr(values, "take") else [values[index] for index in indices.tolist()]
