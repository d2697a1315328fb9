"""``StepRandom``: the random numbers of one training step, made from (seed, step) alone, on the CPU.

Every device is handed the same numbers, and no generator's state is read or changed. Knows nothing about pictures.

Source: raw Philox words (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The key is (seed, step);
the counter's four words are the place within a draw, the number of the draw, the stream and the purpose.
"""

import hashlib
import math
from typing import Any

import numpy as np

from .._errors import ConfigError

_PURPOSE = 0x61756701  # apart from the words of the same key that order the samples of an epoch
_WORDS = 4  # that one value of the counter stands for


class StepRandom:
    """A source of uniform numbers that is a pure function of (seed, step), with a row of numbers for each sample.

    A row depends on its sample's place in the step's batch and not on the size of the batch. So the parts of a batch
    that several processes hold are given the numbers of the whole, if each says where its part begins.

    Args:
        seed: the run's, 0 or more and below 2**64: ``run.seed``.
        step: 0 or more: ``run.global_step``.
        first: the place of this batch's first sample in the batch of all processes.

    Raises:
        ConfigError: one of them is not such a whole number.

    >>> draws = StepRandom(seed=0, step=7)
    >>> draws.uniform(3).tolist() == StepRandom(seed=0, step=7).uniform(3).tolist()
    True
    >>> whole, part = StepRandom(0, 7).uniform(8, 2), StepRandom(0, 7, first=6).uniform(2, 2)
    >>> bool((whole[6:] == part).all())
    True
    """

    def __init__(self, seed: int | None, step: int, *, first: int = 0) -> None:
        self._key = _whole("seed", seed), _whole("step", step)
        self._first = _whole("first", first)
        self._path, self._draws = "", 0

    def stream(self, name: str | int) -> "StepRandom":
        """Another source of the same step: what it gives depends on its name, not on what was drawn elsewhere."""
        child = StepRandom(*self._key, first=self._first)
        child._path = f"{self._path}/{name}"
        return child

    def part(self, start: int) -> "StepRandom":
        """This source, as far as it was drawn from, for the samples from a place of the batch on."""
        child = StepRandom(*self._key, first=self._first + start)
        child._path, child._draws = self._path, self._draws
        return child

    def follow(self, part: "StepRandom") -> None:
        """Go on behind what was drawn from a part."""
        self._draws = part._draws

    def uniform(self, count: int, *shape: int) -> np.ndarray:
        """A row of numbers for each of ``count`` samples: float64 (count, *shape), in [0, 1)."""
        width = math.prod(shape)
        return _uniform(self._words(self._first * width, count * width)).reshape(count, *shape)

    def shared(self, *shape: int) -> np.ndarray:
        """Numbers for the step as a whole, the same in each process: float64 of this shape, in [0, 1)."""
        return _uniform(self._words(0, math.prod(shape))).reshape(shape)

    def permutation(self, count: int) -> np.ndarray:
        """The places 0 to ``count - 1`` in random order: int64 (count,)."""
        return np.argsort(self._words(self._first, count), kind="stable")

    def _words(self, start: int, count: int) -> np.ndarray:
        counter = np.array([start // _WORDS, self._draws, _digest(self._path), _PURPOSE], dtype=np.uint64)
        self._draws += 1
        skipped = start % _WORDS
        bits = np.random.Philox(key=np.array(self._key, dtype=np.uint64), counter=counter)
        return bits.random_raw(skipped + count)[skipped:]

    def __repr__(self) -> str:
        seed, step = self._key
        return f"StepRandom(seed={seed}, step={step}, first={self._first})"


def _uniform(words: np.ndarray) -> np.ndarray:
    return (words >> np.uint64(11)) * 2.0**-53


def _digest(path: str) -> int:
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "little") if path else 0


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 2**64:
        hint = ": a run has its seed once it is open" if value is None else ""
        raise ConfigError(
            f"StepRandom: {name} must be a whole number, 0 or more and below 2**64. Found: {value!r}{hint}"
        )
    return int(value)
