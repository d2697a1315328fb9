"""Engines: how batches get made. Each is given ``Samples`` and keys and yields the batches in the keys' order.

This is the room of the fast engine (threads, shared-memory ring); ``Loader`` decides what to read, an engine only how.
"""

import multiprocessing
import os
from collections.abc import Iterator
from typing import Protocol

import torch
from torch.utils.data import DataLoader

from .._seed import preserved_rng
from ._samples import BatchKey, BatchKeys, LoadedBatch, LoadFailure, Samples


class Engine(Protocol):
    """What a ``Loader`` needs of an engine."""

    def batches(self, keys: BatchKeys) -> Iterator[LoadedBatch | LoadFailure]: ...
    def close(self) -> None: ...


class InProcess:
    """Makes each batch when it is asked for, in this process; the global generators stay as they were."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def batches(self, keys: BatchKeys) -> Iterator[LoadedBatch | LoadFailure]:
        for key in keys:
            with preserved_rng():
                batch = self._samples[key]
            yield batch

    def close(self) -> None:
        """Nothing is held."""


class WorkerProcesses:
    """Makes batches ahead of use in worker processes, by torch's ``DataLoader``; they live until ``close``."""

    def __init__(self, samples: Samples, workers: int, prefetch: int = 2) -> None:
        self._keys: BatchKeys = ()
        self._loader: DataLoader | None = DataLoader(
            samples,  # type: ignore[arg-type] - a map from keys to batches
            batch_size=None,
            sampler=_Keys(self),  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=_as_it_is,
            prefetch_factor=prefetch,
            persistent_workers=True,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # its own: making an iterator must not draw from the global one
        )

    def batches(self, keys: BatchKeys) -> Iterator[LoadedBatch | LoadFailure]:
        assert self._loader is not None, "closed"
        self._keys = keys
        yield from self._loader

    @property
    def keys(self) -> BatchKeys:
        assert self._keys is not None, "asked for before there were any"
        return self._keys

    def close(self) -> None:
        self._loader = None  # its workers end with it


class _Keys:
    """The sampler that torch asks: it hands out whatever keys were asked for last."""

    def __init__(self, engine: WorkerProcesses) -> None:
        self._engine = engine

    def __iter__(self) -> Iterator[BatchKey]:
        return iter(self._engine.keys)

    def __len__(self) -> int:
        return len(self._engine.keys)


def _as_it_is(batch: LoadedBatch) -> LoadedBatch:
    return batch


def choose_engine(samples: Samples, workers: int) -> Engine:
    """Worker processes, or this process for ``workers=0`` and inside another worker (which may not have children)."""
    if workers == 0 or multiprocessing.current_process().daemon:
        return InProcess(samples)
    return WorkerProcesses(samples, workers)


def default_workers() -> int:
    """One worker a core, leaving one for the loop, at most 8."""
    return max(1, min(8, len(os.sched_getaffinity(0)) - 1 if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))
