"""``Reader``: threads that put pictures into the slots of a ring. Knows neither processes nor who takes the batches."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .._seed import SampleRandom
from ._samples import BatchKey, BatchKeys, LoadFailure, Samples, Unreadable


class Filled(NamedTuple):
    """A slot that holds a batch, or why there is none."""

    turn: int  # which iteration it is for
    number: int  # of the batch in its iteration
    slot: int
    rests: list[tuple[Any, ...]]  # the samples without their pictures, in the order of the slot's rows
    drawn: int
    skipped: tuple[str, ...] = ()
    failure: LoadFailure | None = None


class _Batch:
    """A batch that is being made: which of its samples are begun, and how many are not done."""

    def __init__(self, turn: int, number: int, slot: int, key: BatchKey) -> None:
        self.turn, self.number, self.slot, self.key = turn, number, slot, key
        self.begun, self.left = 0, len(key.indices)
        self.rests: list[Any] = [None] * self.left
        self.failure: LoadFailure | None = None

    def filled(self, pictures: np.ndarray) -> Filled:
        """The finished batch, its readable pictures moved together at the front."""
        skipped = tuple(rest.message for rest in self.rests if isinstance(rest, Unreadable))
        good = [row for row, rest in enumerate(self.rests) if not isinstance(rest, Unreadable)]
        if skipped:
            pictures[: len(good)] = pictures[good]
        rests = [self.rests[row] for row in good]
        return Filled(self.turn, self.number, self.slot, rests, len(self.key.indices), skipped, self.failure)


class Reader:
    """Fills free slots with the batches of an iteration, in their order, a few samples at a time.

    A slot is taken before the next batch is begun, so the oldest batch always has one and handing out in order cannot
    come to a standstill.

    Args:
        slots: uint8 (slots, batch size, H, W, 3).
        done: called with each finished batch, by whichever thread finished it; not called by two at a time.
    """

    def __init__(self, samples: Samples, slots: np.ndarray, threads: int, done: Callable[[Filled], object]) -> None:
        self._samples, self._slots, self._done = samples, slots, done
        self._changed, self._handing_over = threading.Condition(), threading.Lock()
        self._turn = -1
        self._keys: Iterator[tuple[int, BatchKey]] = iter(())
        self._free = list(range(len(slots)))
        self._open: _Batch | None = None  # samples of it are still to be begun
        self._ended = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def read(self, turn: int, keys: BatchKeys) -> None:
        """Begin an iteration; what is left of the one before is dropped."""
        with self._changed:
            self._drop(self._open)
            self._turn, self._keys, self._open = turn, enumerate(keys), None
            self._changed.notify_all()

    def give_back(self, slot: int) -> None:
        """A slot may be filled again."""
        with self._changed:
            self._free.append(slot)
            self._changed.notify_all()

    def end(self) -> None:
        """End the threads, after the samples that they are at."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _drop(self, batch: _Batch | None) -> None:
        """Samples that were not begun count as done; the slot comes back with the last of the others."""
        if batch is not None:
            batch.left -= len(batch.key.indices) - batch.begun
            if batch.left == 0:
                self._free.append(batch.slot)

    def _work(self) -> None:
        rng = SampleRandom()
        while (job := self._next()) is not None:
            batch, rows = job
            if batch.failure is None and batch.turn == self._turn:
                try:
                    made = self._samples.show(batch.key, rows, rng, self._slots[batch.slot])
                    batch.rests[rows.start : rows.stop] = made
                except Exception as error:
                    batch.failure = LoadFailure.of(error, batch.key)
            self._finish(batch, len(rows))

    def _next(self) -> tuple[_Batch, range] | None:
        """The next samples to make: their batch and their rows; None at the end."""
        with self._changed:
            while not self._ended:
                batch = self._open = self._open or self._begun()
                if batch is not None:
                    rows = range(batch.begun, min(batch.begun + self._samples.rows, len(batch.key.indices)))
                    batch.begun = rows.stop
                    if batch.begun == len(batch.key.indices):
                        self._open = None
                    return batch, rows
                self._changed.wait()
        return None

    def _begun(self) -> _Batch | None:
        """A new batch, if a slot is free and the iteration has one more."""
        if not self._free:
            return None
        numbered = next(self._keys, None)
        return None if numbered is None else _Batch(self._turn, numbered[0], self._free.pop(), numbered[1])

    def _finish(self, batch: _Batch, count: int) -> None:
        with self._changed:
            batch.left -= count
            if batch.left:
                return
            if batch.turn != self._turn:
                self._free.append(batch.slot)
                self._changed.notify_all()
                return
        with self._handing_over:  # not under the other lock: handing over may wait for who takes it
            self._done(batch.filled(self._slots[batch.slot]))
