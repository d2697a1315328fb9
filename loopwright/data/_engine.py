"""Engines: how batches get made. Each is given ``Samples`` and keys and yields the batches in the keys' order.

``Loader`` decides what to read, an engine only how. The fast one is in ``_ring``.
"""

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from typing import Protocol

import torch
from torch.utils.data import DataLoader, get_worker_info

from .._errors import DataError
from .._seed import preserved_rng
from ._incidents import Incidents
from ._posts import IDLE, Post, Posts
from ._samples import BatchKey, BatchKeys, LoadedBatch, LoadFailure, Samples, shown

_NOWHERE = -1  # as the place of a post: at no sample


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

    def __init__(self, samples: Samples, workers: int, incidents: Incidents) -> None:
        self._samples, self._workers, self._incidents = samples, workers, incidents
        self._idle: list[_Team] = []

    def batches(self, keys: BatchKeys) -> Iterator[LoadedBatch | LoadFailure]:
        team = self._idle.pop() if self._idle else _Team(self._samples, self._workers)
        try:
            yield from team.batches(keys)
        except GeneratorExit:  # the loop was left early; the team drops what it has read ahead when it is next asked
            self._keep(team)
            raise
        except (RuntimeError, OSError, EOFError) as error:  # torch's word for it, or that of the pipe that broke
            failure = f"{type(error).__name__}: {error}"
        else:
            self._keep(team)
            return
        told = "".join(f"{message}. " for message in team.deaths())
        del team  # nothing holds it now, not even the error: the workers that are left end
        raise DataError(
            f"reading from the worker processes failed ({failure}). {told}Did memory run out? Try fewer workers or smaller "
            "batches; workers=0 shows what happens in one"
        )

    def _keep(self, team: "_Team") -> None:
        """Keep a team for the next iteration; not with a dead worker, who does not come back. torch may say of a death in
        the middle of the loop's own work, which then leaves this iteration."""
        if deaths := team.deaths():
            self._incidents.told.extend(deaths)
        else:
            self._idle.append(team)

    def close(self) -> None:
        self._idle.clear()  # their workers end with them


class _Team:
    """Worker processes of torch's ``DataLoader``, for one iteration after the other."""

    def __init__(self, samples: Samples, workers: int, prefetch: int = 2) -> None:
        self._samples, self._posts, self._keys = samples, Posts(workers), _Keys(workers * prefetch + 1)
        self._loader = DataLoader(
            _Noted(samples, self._posts),  # type: ignore[arg-type] - a map from keys to batches
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

    def deaths(self) -> list[str]:
        """A message for each worker that died: at which sample, and for which batch."""
        living = {child.pid for child in multiprocessing.active_children()}
        return [self._death(post) for post in self._posts if post.task != IDLE and post.task not in living]

    def _death(self, post: Post) -> str:
        if post.place == _NOWHERE:
            return f"a worker process ({post.task}) died between two batches"
        place = f"sample {post.place}"
        if key := self._keys.oldest_with(post.place):
            place += f", in the batch of samples {shown(key.indices)}"
        return f"a worker process ({post.task}) died at {self._samples.name_of(post.place)} ({place})"


class _Noted:
    """Samples in a worker process, whose post says which process it is, and the sample that it is at."""

    def __init__(self, samples: Samples, posts: Posts) -> None:
        self._samples, self._posts = samples, posts

    def __getitem__(self, key: BatchKey) -> LoadedBatch | LoadFailure:
        worker = get_worker_info()
        assert worker is not None
        post = self._posts[worker.id]
        post.begin(os.getpid(), key.indices[0])
        batch = self._samples.batch(key, post.at)
        post.at(_NOWHERE)
        return batch


class _Keys:
    """The sampler that torch asks: it hands out the keys that were asked for last, and remembers a few."""

    keys: BatchKeys

    def __init__(self, handed_out: int) -> None:
        self._last: deque[BatchKey] = deque(maxlen=handed_out)

    def __iter__(self) -> Iterator[BatchKey]:
        for key in self.keys:
            self._last.append(key)
            yield key

    def oldest_with(self, index: int) -> BatchKey | None:
        """The oldest key that may still be in the making and holds a sample."""
        return next((key for key in self._last if index in key.indices), None)

    def __len__(self) -> int:
        return len(self.keys)


def _as_it_is(batch: LoadedBatch) -> LoadedBatch:
    return batch
