"""Where randomness comes from. Order and augmentation are pure functions of (seed, epoch, sample); the process's global
generators can be seeded, captured and put back. Knows nothing about datasets or runs.

The order is made from raw Philox words (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), because
NumPy promises that the words of a bit generator never change, and promises less of what it builds on them.
"""

import contextlib
import hashlib
import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_ORDER, _WEIGHTED = 0, 1  # which sequence of words: one Philox counter block for each purpose


def _words(seed: int, epoch: int, purpose: int, count: int) -> np.ndarray:
    key = np.array([seed % 2**64, epoch], dtype=np.uint64)
    counter = np.array([0, 0, 0, purpose], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of ``count`` samples in one epoch: int64 (count,), each index once.

    >>> permutation(0, 0, 5).tolist() == permutation(0, 0, 5).tolist()
    True
    """
    return np.argsort(_words(seed, epoch, _ORDER, count), kind="stable")


def weighted_choice(seed: int, epoch: int, weights: np.ndarray, count: int) -> np.ndarray:
    """``count`` indices drawn with replacement, each with the probability of its weight: int64 (count,)."""
    uniform = (_words(seed, epoch, _WEIGHTED, count) >> np.uint64(11)) * 2.0**-53
    cumulative = np.cumsum(weights, dtype=np.float64)
    drawn = np.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    return np.minimum(drawn, len(weights) - 1)


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """128 bits that stand for one sample in one epoch of one run, whoever computes it."""
    text = f"{seed}/{epoch}/{index}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def seed_globals(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global CPU generators for one sample; CUDA's are left alone."""
    random.seed(seed)
    # Not the words that Python has: both are Mersenne Twisters, seeded alike they would give the very same numbers.
    np.random.seed(np.frombuffer((~seed % 2**128).to_bytes(16, "little"), dtype=np.uint32))
    torch.default_generator.manual_seed(seed % 2**63)


_GOLDEN, _WORD = 0x9E3779B97F4A7C15, 2**64 - 1
# The same numbers for many words at once.
_STEP, _LAST, _TO_53_BITS = np.uint64(_GOLDEN), np.uint64(31), np.uint64(11)
_MIXERS = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)


class SampleRandom(random.Random):
    """The source of randomness of loopwright's transforms: one stream a (seed, epoch, sample), apart from all others.

    A counter and a hash instead of a state of 624 words, so that going to a sample's stream costs a microsecond, and
    ``sample_uniforms`` can draw for many samples at once.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (SplitMix64).

    >>> rng = SampleRandom(seed=0, epoch=0, index=7)
    >>> first = rng.random()
    >>> rng.go_to(0, 0, 7).random() == first == sample_uniforms(0, 0, np.array([7]), 1).item()
    True
    """

    def __init__(self, seed: int = 0, epoch: int = 0, index: int = 0) -> None:
        self.go_to(seed, epoch, index)

    def __new__(cls, *_: int, **__: int) -> "SampleRandom":
        # Without an argument Python would ask the system for 2.5 KB of randomness.
        return super().__new__(cls, 0)  # type: ignore[call-arg]

    def go_to(self, seed: int, epoch: int, index: int) -> "SampleRandom":
        """The start of a sample's stream."""
        self._place = _mixed(_stream(seed, epoch) + (index + 1) * _GOLDEN & _WORD)
        self.gauss_next = None
        return self

    def getrandbits(self, k: int, /) -> int:
        bits, have = 0, 0
        while have < k:
            self._place = self._place + _GOLDEN & _WORD
            bits, have = bits << 64 | _mixed(self._place), have + 64
        return bits >> (have - k)

    def random(self) -> float:
        self._place = self._place + _GOLDEN & _WORD
        return (_mixed(self._place) >> 11) * 2.0**-53

    def seed(self, *_: object) -> None:  # type: ignore[override]
        """A place has no seed of its own; ``go_to`` leads to another."""

    def getstate(self) -> tuple[int, float | None]:  # type: ignore[override]
        return self._place, self.gauss_next

    def setstate(self, state: tuple[int, float | None]) -> None:  # type: ignore[override]
        self._place, self.gauss_next = state


def sample_uniforms(seed: int, epoch: int, indices: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` numbers of each sample's ``SampleRandom``: float64 (len(indices), count) in [0, 1)."""
    if not count:
        return np.empty((len(indices), 0))
    places = np.uint64(_stream(seed, epoch) + _GOLDEN & _WORD) + indices.astype(np.uint64) * _STEP
    steps = np.arange(1, count + 1, dtype=np.uint64) * _STEP
    return (_mixed_words(_mixed_words(places)[:, None] + steps) >> _TO_53_BITS) * 2.0**-53


def _stream(seed: int, epoch: int) -> int:
    return _mixed(_mixed(seed + _GOLDEN & _WORD) + epoch * _GOLDEN & _WORD)


def _mixed(word: int) -> int:
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _WORD
    return word ^ word >> 31


def _mixed_words(words: np.ndarray) -> np.ndarray:
    for by, factor in _MIXERS:
        words = (words ^ words >> by) * factor
    return words ^ words >> _LAST


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and every torch generator, as a person would at the top of a script."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def rank_seed(seed: int, rank: int) -> int:
    """The seed of what a rank draws in its loop, dropout say: rank 0 has the run's own."""
    return sample_seed(seed, rank, -3) % 2**63 if rank else seed


def fresh_seed() -> int:
    """The seed to use when none is given: the one that the user gave torch, or the one that torch started with."""
    return torch.initial_seed() % 2**63


def capture_rng() -> dict[str, Any]:
    """The state of all global generators, as tensors and plain values that ``torch.load(weights_only=True)`` reads."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    assert not isinstance(keys, str)  # NumPy's type hints are wider than what it returns
    state = {
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_rng(state: dict[str, Any]) -> None:
    """Put the global generators back to what ``capture_rng`` saw, passing over devices that are not here any more."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    for index, cuda_state in enumerate(state.get("cuda", ())):
        if torch.cuda.is_available() and index < torch.cuda.device_count():
            torch.cuda.set_rng_state(cuda_state, index)


@contextlib.contextmanager
def preserved_rng() -> Iterator[None]:
    """Whatever is drawn from the global CPU generators inside leaves them as they were."""
    python, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)


def deterministic_settings() -> tuple[bool, bool, bool, str | None]:
    """What ``be_deterministic`` changes, as it is now."""
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        os.environ.get(_CUBLAS),
    )


def put_back_determinism(settings: tuple[bool, bool, bool, str | None]) -> None:
    """Undo ``be_deterministic``."""
    enabled, warn_only, torch.backends.cudnn.benchmark, workspace = settings
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
    if workspace is None:
        os.environ.pop(_CUBLAS, None)


def be_deterministic() -> str:
    """Ask torch for deterministic algorithms; returns what that promises and what it cannot."""
    os.environ.setdefault(_CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    return (
        "deterministic algorithms where torch has them (a warning names each that it lacks); equal bits need the same "
        f"device model, torch {torch.__version__}, {torch.get_num_threads()} CPU threads and precision"
    )
