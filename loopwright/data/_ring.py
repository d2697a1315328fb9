"""The fast engine: a ring of batch slots in shared memory, which readers fill and the loop is lent."""

import collections
import os
import weakref
from collections.abc import Iterator
from typing import Any

import torch

from ._board import Board, Part
from ._collate import collate
from ._crew import MOST_ORDERS, Crew, Processes, Threads
from ._engine import in_one_process
from ._incidents import Incidents
from ._reader import Filled
from ._samples import BatchKey, BatchKeys, LoadedBatch, LoadFailure, Samples, Unreadable

SLOTS = 7
LENT = 3  # slots that the loop may hold; of more batches it is given copies
_MOST_ROWS = 16  # of a part
#: Bytes of a part that is only copied: of a small one the work is less than what is said about it.
_MOST_COPIED = 2**24


class _Batch:
    """A batch that is being read: what is known of its rows, and how many are missing."""

    def __init__(self, slot: int, key: BatchKey) -> None:
        self.slot, self.left = slot, len(key.indices)
        self.rests: list[Any] = [None] * self.left
        self.failures: dict[int, LoadFailure] = {}  # by row
        self.dropped = False  # nobody waits for it any more

    def add(self, filled: Filled) -> None:
        rows = range(filled.part.start, filled.part.stop)
        self.left -= len(rows)
        self.rests[rows.start : rows.stop] = filled.rests
        if filled.failure is not None:
            self.failures[rows.start] = filled.failure


class Ring:
    """Batches in shared memory: one iteration at a time, each batch the loop's own for as long as it holds it.

    A batch is given a slot before it is ordered, in the keys' order, so the oldest always has one and handing out in
    order cannot come to a standstill. Its rows are ordered in parts, so that all readers work at the batch that the loop
    waits for.

    Args:
        incidents: what is known of readers that died, where they are processes; None: they are threads.
    """

    def __init__(self, samples: Samples, workers: int, batch_size: int, incidents: Incidents | None) -> None:
        self._board = Board(SLOTS, batch_size, *samples.size())
        self._rows = max(_rows_of_a_part(samples, batch_size, workers), -(-batch_size * SLOTS // MOST_ORDERS))
        self._crew: Crew = (
            Threads(samples, self._board, workers)
            if incidents is None
            else Processes(samples, self._board, workers, incidents)
        )
        self._free = list(range(SLOTS))
        self._reading: dict[int, _Batch] = {}  # by slot
        self._lent: set[int] = set()
        self._returned: collections.deque[int] = collections.deque()  # slots that the loop let go
        self._owner = os.getpid()

    def batches(self, keys: BatchKeys) -> Iterator[LoadedBatch | LoadFailure]:
        self._board.turn += 1
        to_begin, begun = iter(keys), collections.deque[_Batch]()
        try:
            for _ in range(len(keys)):
                self._begin_all(to_begin, begun)
                while not begun or begun[0].left:
                    self._receive()
                    self._begin_all(to_begin, begun)
                yield self._handed_out(begun.popleft())
        finally:
            if os.getpid() == self._owner:  # a process that is forked meanwhile ends its copy of this, too
                self._board.turn += 1  # what is left of this iteration need not be read
            for batch in begun:
                self._drop(batch)

    def end(self) -> None:
        """End the readers; batches that were handed out stay what they are."""
        self._board.turn += 1
        self._crew.end()

    def _begin_all(self, keys: Iterator[BatchKey], begun: collections.deque[_Batch]) -> None:
        """Begin as many batches as there are slots for."""
        self._take_back()
        while self._free and (key := next(keys, None)) is not None:
            begun.append(self._begin(key))

    def _begin(self, key: BatchKey) -> _Batch:
        slot, count = self._free.pop(), len(key.indices)
        batch = self._reading[slot] = _Batch(slot, key)
        self._board.write(slot, key)
        for start in range(0, count, self._rows):
            self._crew.order(Part(self._board.turn, slot, start, min(start + self._rows, count)))
        return batch

    def _receive(self) -> None:
        """Wait for a part of any batch."""
        filled = self._crew.next()
        batch = self._reading[filled.part.slot]
        batch.add(filled)
        if batch.dropped:
            self._drop(batch)

    def _drop(self, batch: _Batch) -> None:
        batch.dropped = True
        if not batch.left:
            self._free.append(batch.slot)

    def _handed_out(self, batch: _Batch) -> LoadedBatch | LoadFailure:
        drawn = len(batch.rests)
        good = [row for row, rest in enumerate(batch.rests) if not isinstance(rest, Unreadable)]
        skipped = tuple(rest.message for rest in batch.rests if isinstance(rest, Unreadable))
        if batch.failures or not good:
            self._free.append(batch.slot)
            return batch.failures[min(batch.failures)] if batch.failures else LoadedBatch(None, 0, drawn, skipped)
        if skipped:
            slot = self._board.pictures[batch.slot]
            slot[: len(good)] = slot[good]
        pictures = self._pictures(batch.slot, len(good)).permute(0, 3, 1, 2)
        rests = zip(*(batch.rests[row] for row in good), strict=True)
        return LoadedBatch((pictures, *(collate(column) for column in rests)), len(good), drawn, skipped)

    def _pictures(self, slot: int, count: int) -> torch.Tensor:
        """The slot itself, until nobody holds the tensor any more; a copy where the loop holds many."""
        self._take_back()
        pictures = self._board.pictures[slot, :count]
        if len(self._lent) >= LENT:
            self._free.append(slot)
            return torch.from_numpy(pictures.copy())
        self._lent.add(slot)
        lent = pictures.view()
        weakref.finalize(lent, self._returned.append, slot).atexit = False
        return torch.from_numpy(lent)

    def _take_back(self) -> None:
        while self._returned:
            slot = self._returned.popleft()
            self._lent.discard(slot)
            self._free.append(slot)


def _rows_of_a_part(samples: Samples, batch_size: int, workers: int) -> int:
    if samples.cutter is not None:
        height, width = samples.size()
        return max(1, min(batch_size, _MOST_COPIED // (height * width * 3)))
    return max(1, min(_MOST_ROWS, batch_size // (2 * workers)))


class RingEngine:
    """A ring for each iteration that goes on; there is one, unless an iteration begins while another goes on."""

    def __init__(self, samples: Samples, workers: int, incidents: Incidents | None) -> None:
        self._samples, self._workers, self._incidents = samples, workers, incidents
        self._idle: list[Ring] = []

    def batches(self, keys: BatchKeys) -> Iterator[LoadedBatch | LoadFailure]:
        ring = self._idle.pop() if self._idle else self._new_ring(keys.batch_size)
        try:
            yield from in_one_process(ring.batches(keys))
        except GeneratorExit:  # the loop was left early; the ring drops what it has read ahead when it is next asked
            self._idle.append(ring)
            raise
        self._idle.append(ring)  # not after an error, after which nobody knows what it holds

    def close(self) -> None:
        while self._idle:
            self._idle.pop().end()

    def _new_ring(self, batch_size: int) -> Ring:
        return Ring(self._samples, self._workers, batch_size, self._incidents)
