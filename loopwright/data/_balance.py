"""Weights that draw rare classes as often as common ones. Knows nothing about loaders, which draw by them."""

from typing import Any

import numpy as np

from .._errors import ConfigError
from ._labels import LabelSets, class_indices, labels_of


def balanced_weights(source: Any, *, power: float = 1.0) -> np.ndarray:
    """One weight a sample, for ``Loader(weights=...)``: 1 / (samples of its class) ** power, scaled to a mean of 1.

    A class of n samples is then drawn in proportion to n ** (1 - power): with power 1 all classes equally often, with
    0.5 rare ones more often than they come, with 0 as they come. The square root is from Mahajan et al., "Exploring
    the limits of weakly supervised pretraining", ECCV 2018. Of several labels the rarest counts, as in Gupta, Dollar
    and Girshick, "LVIS", CVPR 2019; samples without any are a class of their own.

    Args:
        source: a dataset with ``labels``, or the labels themselves: one class index or name a sample, or ``LabelSets``.
        power: 0 or more.

    Returns:
        float64 (n,).

    Raises:
        DataError: there are no labels, or they are no classes.

    >>> balanced_weights(["cat", "cat", "cat", "dog"]).round(3).tolist()
    [0.667, 0.667, 0.667, 2.0]
    """
    if not (power >= 0 and np.isfinite(power)):
        raise ConfigError(f"power must be 0 or more. Found: {power}")
    labels = labels_of(source)
    sizes = _rarest(labels) if isinstance(labels, LabelSets) else _sizes(class_indices(labels))
    weights = sizes.astype(np.float64) ** -power
    return weights / weights.mean() if len(weights) else weights


def _sizes(classes: np.ndarray) -> np.ndarray:
    """How many samples the class of each sample has."""
    _, inverse, counts = np.unique(classes, return_inverse=True, return_counts=True)
    return counts[inverse]


def _rarest(labels: LabelSets) -> np.ndarray:
    counts = labels.counts()
    without = sum(not members for members in labels)
    return np.array([min((counts[member] for member in members), default=without) for members in labels])
