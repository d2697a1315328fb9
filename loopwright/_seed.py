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


def own_rng(seed: int) -> random.Random:
    """The generator of loopwright's transforms for one sample: a stream apart from those of ``seed_globals``."""
    return random.Random(2**128 + seed)


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and every torch generator, as a person would at the top of a script."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


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
