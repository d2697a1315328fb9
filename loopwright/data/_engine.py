"""Engines: how batches get made. Each is given ``Samples`` and keys and yields the batches in the keys' order.

``Loader`` decides what to read, an engine only how. The fast one is in ``_ring``.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data._utils import signal_handling

from .._errors import DataError
from .._seed import preserved_rng
from ._incidents import HUNG_AFTER, LOOK_EVERY, TIMES, Incidents
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


def in_one_process(batches: Iterator[Any]) -> Iterator[Any]:
    """The same batches. Its copy in a process that is forked meanwhile is an error: who fills them is the parent's."""
    owner = os.getpid()
    for batch in batches:
        yield batch
        if os.getpid() != owner:
            raise DataError(
                f"this iteration was begun in process {owner}, and this is process {os.getpid()}, forked from it: iterate "
                "over the loader anew here, epoch_batches(epoch, start=...) from any place on"
            )


class WorkerProcesses:
    """Makes batches ahead of use in teams of worker processes, which live until ``close``.

    There is one team, unless an iteration begins while another goes on: one team can read for one iteration only. A
    team of which one died or hangs is replaced, and the new one goes on with the batch that is missing: the same one, since
    a batch depends on its key only.
    """

    def __init__(self, samples: Samples, workers: int, incidents: Incidents) -> None:
        self._samples, self._workers, self._incidents = samples, workers, incidents
        self._idle: list[_Team] = []
        self._owner = os.getpid()

    def batches(self, keys: BatchKeys) -> Iterator[LoadedBatch | LoadFailure]:
        done, ends = 0, 0  # batches handed out, and teams that ended at the one behind them
        while done < len(keys):
            team = self._idle.pop() if self._idle else _Team(self._samples, self._workers)
            try:
                for batch in in_one_process(team.batches(keys.after(done))):
                    done, ends = done + 1, 0
                    yield batch
            except (GeneratorExit, DataError):  # the loop was left early, or this is another process
                self._keep(team)  # which drops what it has read ahead when it is next asked
                raise
            except (RuntimeError, OSError, EOFError) as error:  # torch's word for it, or that of the pipe that broke
                failure = f"{type(error).__name__}: {error}"
            else:
                self._keep(team)
                return
            ends += 1
            self._replace(team, failure, again=ends < TIMES)
            del team  # nothing holds it now, not even the error: the workers that are left end

    def _replace(self, team: "_Team", failure: str, *, again: bool) -> None:
        """Say who ended at what; an error where nobody did, or where it came to nothing."""
        told = team.ends()
        if told and again:
            self._incidents.told.extend(
                f"{message}. Others take its place; the batches stay the same" for message in told
            )
            return
        raise DataError(
            f"reading from the worker processes failed ({failure}). {''.join(f'{message}. ' for message in told)}Did memory "
            "run out? Try fewer workers or smaller batches; workers=0 shows what happens in one"
        )

    def _keep(self, team: "_Team") -> None:
        """Keep a team for the next iteration; not with a dead worker, who does not come back.

        In a process that was forked meanwhile it is the parent's, and torch would end it where it is let go.
        """
        if os.getpid() == self._owner and (told := team.ends()):
            self._incidents.told.extend(told)
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
            timeout=LOOK_EVERY,
        )
        self._hung: set[int] = set()  # processes that were ended for it

    def batches(self, keys: BatchKeys) -> Iterator[LoadedBatch | LoadFailure]:
        self._keys.keys = keys
        batches = self._begun()
        _tell_of_deaths_here(batches)
        looks, seen = 0, self._places()
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if "timed out" not in str(error):
                    raise
                looks, seen = (looks + 1, seen) if self._places() == seen else (0, self._places())
                if looks * LOOK_EVERY >= HUNG_AFTER:
                    self._end_the_hung()
                    raise
                continue
            looks, seen = 0, self._places()
            yield batch

    def _begun(self) -> Iterator[LoadedBatch | LoadFailure]:
        try:
            return iter(self._loader)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            if (method := multiprocessing.get_start_method()) == "fork":
                raise
            raise DataError(
                f"worker processes are started by {method!r} here, and what they work with cannot be sent there ({error}). "
                "Give functions that a module has by their names, not lambdas, or call "
                "multiprocessing.set_start_method('fork') at the start, or use workers=0"
            ) from error

    def _places(self) -> list[tuple[int, int]]:
        return [(post.task, post.place) for post in self._posts]

    def _end_the_hung(self) -> None:
        """Nothing moved for long: those that are at a sample hang at it."""
        for process, place in self._places():
            if process != IDLE and place != _NOWHERE:
                self._hung.add(process)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def ends(self) -> list[str]:
        """A message for each worker that died or hung: at which sample, and for which batch."""
        living = {child.pid for child in multiprocessing.active_children()} - self._hung
        return [self._end(post) for post in self._posts if post.task != IDLE and post.task not in living]

    def _end(self, post: Post) -> str:
        how = f"hung, and was ended after {HUNG_AFTER:g} seconds," if post.task in self._hung else "died"
        if post.place == _NOWHERE:
            return f"a worker process ({post.task}) {how} between two batches"
        place = f"sample {post.place}"
        if key := self._keys.oldest_with(post.place):
            place += f", in the batch of samples {shown(key.indices)}"
        return f"a worker process ({post.task}) {how} at {self._samples.name_of(post.place)} ({place})"


def _tell_of_deaths_here(batches: Any) -> None:
    """Have torch say of a dead worker where its batch is asked for, not by a signal in the middle of the loop's own work.

    By names that torch keeps to itself: where they are gone, it stays as it was.
    """
    if getattr(batches, "_worker_pids_set", False) and hasattr(signal_handling, "_remove_worker_pids"):
        signal_handling._remove_worker_pids(id(batches))  # type: ignore[reportPrivateImportUsage]
        batches._worker_pids_set = False


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
