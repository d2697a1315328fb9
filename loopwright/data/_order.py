"""``Order``: which samples an epoch visits, in which order: a pure function of (seed, epoch). Reads no sample."""

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from .._errors import ConfigError
from .._seed import permutation, preserved_rng, sample_seed, seed_globals, weighted_choice


class Order:
    """In turn, shuffled, weighted, or by a sampler of the user's."""

    def __init__(
        self, count: int, *, shuffle: bool, weights: Sequence[float] | None, sampler: Iterable[int] | None
    ) -> None:
        if shuffle not in (True, False):
            raise ConfigError(f"shuffle must be True or False. Found: {shuffle!r}")
        if bool(shuffle) + (weights is not None) + (sampler is not None) > 1:
            raise ConfigError("shuffle, weights and sampler exclude each other: each decides the order by itself")
        if sampler is not None and not hasattr(sampler, "__len__"):
            raise ConfigError(f"a sampler needs len(), a {type(sampler).__name__} has none: give a list of indices")
        self._count, self._shuffle, self._sampler = count, shuffle, sampler
        self._weights = None if weights is None else _checked_weights(weights, count)

    def __len__(self) -> int:
        return len(self._sampler) if self._sampler is not None else self._count  # type: ignore[arg-type]

    def indices(self, seed: int, epoch: int) -> np.ndarray:
        """The samples of one epoch: int64 (n,)."""
        if self._sampler is not None:
            return self._sampled(self._sampler, seed, epoch)
        if self._weights is not None:
            return weighted_choice(seed, epoch, self._weights, self._count)
        return permutation(seed, epoch, self._count) if self._shuffle else np.arange(self._count)

    def _sampled(self, sampler: Any, seed: int, epoch: int) -> np.ndarray:
        """Ask a sampler with its generators seeded for this epoch, so that it too gives the same order again."""
        with preserved_rng():
            seed_globals(sample_seed(seed, epoch, -1))
            if isinstance(own := getattr(sampler, "generator", None), torch.Generator):
                own.manual_seed(sample_seed(seed, epoch, -1) % 2**63)
            if hasattr(sampler, "set_epoch"):  # torch's convention for DistributedSampler
                sampler.set_epoch(epoch)
            try:
                drawn = np.fromiter(map(operator.index, sampler), dtype=np.int64)
            except TypeError as error:
                raise ConfigError(f"a sampler gives one index at a time, a whole number: {error}") from error
        if len(drawn) and not (drawn.min() >= 0 and drawn.max() < self._count):
            raise ConfigError(
                f"the sampler gave index {drawn.min()} to {drawn.max()}; the dataset has {self._count} samples"
            )
        return drawn


def _checked_weights(weights: Sequence[float], count: int) -> np.ndarray:
    try:
        values = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"weights must be one number a sample: {error}") from None
    if values.shape != (count,):
        raise ConfigError(f"weights must be one number a sample: {count}. Found: {values.shape}")
    if count and not (np.isfinite(values).all() and values.min() >= 0 and values.sum() > 0):
        raise ConfigError(f"weights must be finite, 0 or more, and not all 0. Found: {values.min()} to {values.max()}")
    return values
