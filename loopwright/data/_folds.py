"""Divisions of a dataset into training and validation: one part held out, or k folds. Pure functions of labels and seed.

Knows nothing about pictures: the parts are indices, and ``Part`` makes datasets of them.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._errors import ConfigError, DataError
from .._seed import permutation
from ._labels import class_indices, labels_of

_OTHERWISE = "stratified=False divides without regard to labels"


def hold_out(
    source: Any, share: float = 0.2, *, seed: int = 0, stratified: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Divide samples in two: a share of each class is held out for validation.

    Args:
        source: a dataset with ``labels``, or the labels themselves: one class index or name a sample. Where
            ``stratified`` is false, anything with ``len``.
        share: of the samples of each class, between 0 and 1. Both parts get at least one of each.
        seed: the same seed and labels give the same parts.

    Returns:
        The indices for training and those for validation, sorted: int64 (n,) and (m,). They are those of
        ``ImageFolder(..., holdout=share, seed=seed)``.

    Raises:
        DataError: there are no labels, or a class has one sample.

    >>> train, val = hold_out(["cat"] * 8 + ["dog"] * 4, 0.25)
    >>> len(train), len(val), (val < 8).tolist()
    (9, 3, [True, True, False])
    """
    if not 0 < share < 1:
        raise ConfigError(f"share must lie between 0 and 1. Found: {share}")
    kept, held = [], []
    for key, members in _classes(source, stratified):
        order = members[permutation(seed, key, len(members))]
        count = min(max(1, round(len(members) * share)), len(members) - 1)
        held.append(order[:count])
        kept.append(order[count:])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(held))


def k_fold(source: Any, folds: int, *, seed: int = 0, stratified: bool = True) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide samples into ``folds`` parts, each of which is the validation part once: k-fold cross-validation.

    The parts differ by one sample at most, in all and, where ``stratified`` is true, in each class.

    Args:
        source: a dataset with ``labels``, or the labels themselves: one class index or name a sample. Where
            ``stratified`` is false, anything with ``len``.
        folds: 2 or more.
        seed: the same seed and labels give the same parts.

    Returns:
        For each fold the indices for training and those for validation, sorted: int64 (n,) and (m,).

    Raises:
        DataError: there are no labels, fewer samples than folds, or a class has one sample.

    >>> for train, val in k_fold([0, 0, 0, 1, 1, 1], 3):
    ...     print(len(train), (val < 3).tolist())
    4 [True, False]
    4 [True, False]
    4 [True, False]
    """
    if not isinstance(folds, int) or folds < 2:
        raise ConfigError(f"folds must be a whole number, 2 or more. Found: {folds!r}")
    orders = [members[permutation(seed, key, len(members))] for key, members in _classes(source, stratified)]
    dealt = np.concatenate(orders)  # one class after the other, so that dealing goes on where it stopped
    if len(dealt) < folds:
        raise DataError(f"{len(dealt)} samples cannot be divided into {folds} folds")
    return [(np.sort(dealt[np.arange(len(dealt)) % folds != k]), np.sort(dealt[k::folds])) for k in range(folds)]


def _classes(source: Any, stratified: bool) -> Iterator[tuple[int, np.ndarray]]:
    """The number of each class and its samples: int64 (n,), ascending. One class of all where they do not matter."""
    classes = _stratified(source) if stratified else np.zeros(len(source), dtype=np.int64)
    if not len(classes):
        raise DataError("there are no samples to divide")
    order = np.argsort(classes, kind="stable")
    starts = np.flatnonzero(np.diff(classes[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        if len(members) == 1:
            raise DataError(
                f"{_name(source, members[0])} has 1 sample: a class needs two or more to be in both parts; {_OTHERWISE}"
            )
        yield int(classes[members[0]]), members


def _stratified(source: Any) -> np.ndarray:
    try:
        return class_indices(source)
    except DataError as error:
        raise DataError(f"{error}; {_OTHERWISE}") from None


def _name(source: Any, index: int) -> str:
    label = labels_of(source)[int(index)]
    plain = label.item() if hasattr(label, "item") else label  # of NumPy and torch
    return f"class {source.classes[label] if hasattr(source, 'classes') else plain!r}"
