"""Engines: how batches get made. Each is given ``Samples`` and keys and yields the batches in the keys' order.

``Loader`` decides what to read, an engine only how. The fast one is in ``_ring``.
"""

import contextlib
from collections.abc import Iterator
from typing import Protocol

import torch
from torch.utils.data import DataLoader

from .._errors import DataError
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
            with preserved_rng(), one_thread():
                batch = self._samples[key]
            yield batch

    def close(self) -> None:
        """Nothing is held."""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """torch computes as in its worker processes: with more threads a mean over a picture has other last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class WorkerProcesses:
    """Makes batches ahead of use in teams of worker processes, which live until ``close``.

    There is one team, unless an iteration begins while another goes on: one team can read for one iteration only.
    """

    def __init__(self, samples: Samples, workers: int) -> None:
        self._samples, self._workers = samples, workers
        self._idle: list[_Team] = []

    def batches(self, keys: BatchKeys) -> Iterator[LoadedBatch | LoadFailure]:
        team = self._idle.pop() if self._idle else _Team(self._samples, self._workers)
        try:
            yield from team.batches(keys)
        except GeneratorExit:  # the loop was left early; the team drops what it has read ahead when it is next asked
            self._idle.append(team)
            raise
        except (RuntimeError, OSError, EOFError) as error:  # torch's word for it, or that of the pipe that broke
            raise DataError(
                f"reading from the worker processes failed ({type(error).__name__}: {error}). Did memory run out? Try "
                "fewer workers or smaller batches; workers=0 shows what happens in one"
            ) from error
        self._idle.append(team)  # not after an error: a worker that died does not come back

    def close(self) -> None:
        self._idle.clear()  # their workers end with them


class _Team:
    """Worker processes of torch's ``DataLoader``, for one iteration after the other."""

    def __init__(self, samples: Samples, workers: int, prefetch: int = 2) -> None:
        self._keys = _Keys()
        self._loader = DataLoader(
            samples,  # type: ignore[arg-type] - a map from keys to batches
            batch_size=None,
            sampler=self._keys,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=_as_it_is,  # type: ignore[arg-type]
            prefetch_factor=prefetch,
            persistent_workers=True,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # its own: making an iterator must not draw from the global one
        )

    def batches(self, keys: BatchKeys) -> Iterator[LoadedBatch | LoadFailure]:
        self._keys.keys = keys
        return iter(self._loader)


class _Keys:
    """The sampler that torch asks: it hands out the keys that were asked for last."""

    keys: BatchKeys

    def __iter__(self) -> Iterator[BatchKey]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)


def _as_it_is(batch: LoadedBatch) -> LoadedBatch:
    return batch
