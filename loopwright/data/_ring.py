"""The fast engine: threads put decoded pictures into a ring of batch slots, in one process of their own or in this one.

A Python thread beside the training loop would take the interpreter from it: 178 launches of small operations a second
were left of 384,000. A process with the threads inside takes nothing, and only slot numbers and labels cross its pipe.
"""

import collections
import contextlib
import ctypes
import math
import multiprocessing
import os
import queue
import signal
import warnings
import weakref
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
import torch

from .._errors import DataError
from ._collate import collate
from ._reader import Filled, Reader
from ._samples import BatchKeys, LoadedBatch, LoadFailure, Samples
from ._shared import SharedMemory

SLOTS = 7
LENT = 3  # slots that the loop may hold; of more batches it is given copies
_PARENT_CHECK = 2.0  # seconds
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


class _Filler(Protocol):
    """Who fills the slots, seen from the loop."""

    def read(self, turn: int, keys: BatchKeys) -> None: ...
    def give_back(self, slot: int) -> None: ...
    def next(self) -> Filled: ...
    def end(self) -> None: ...


class Ring:
    """Batches in shared memory: one iteration at a time, each batch the loop's own for as long as it holds it."""

    def __init__(self, samples: Samples, threads: int, batch_size: int, *, own_process: bool) -> None:
        shape = (SLOTS, batch_size, *samples.size(), 3)
        self._slots = np.frombuffer(SharedMemory(math.prod(shape)).bytes, np.uint8).reshape(shape)
        self._filler: _Filler = (_Process if own_process else _Threads)(samples, self._slots, threads)
        self._turn = 0
        self._lent: set[int] = set()
        self._returned: collections.deque[int] = collections.deque()  # slots that the loop let go

    def batches(self, keys: BatchKeys) -> Iterator[LoadedBatch | LoadFailure]:
        self._turn += 1
        self._filler.read(self._turn, keys)
        early: dict[int, Filled] = {}  # finished before their turn came
        try:
            for number in range(len(keys)):
                while number not in early:
                    self._take_back()
                    filled = self._filler.next()
                    if filled.turn == self._turn:
                        early[filled.number] = filled
                    else:
                        self._filler.give_back(filled.slot)
                yield self._handed_out(early.pop(number))
        finally:
            for filled in early.values():
                self._filler.give_back(filled.slot)

    def end(self) -> None:
        """End who fills the slots; batches that were handed out stay what they are."""
        self._filler.end()

    def _handed_out(self, filled: Filled) -> LoadedBatch | LoadFailure:
        count = len(filled.rests)
        if filled.failure is not None or not count:
            self._filler.give_back(filled.slot)
            return filled.failure or LoadedBatch(None, 0, filled.drawn, filled.skipped)
        pictures = self._pictures(filled.slot, count).permute(0, 3, 1, 2)
        data = (pictures, *(collate(column) for column in zip(*filled.rests, strict=True)))
        return LoadedBatch(data, count, filled.drawn, filled.skipped)

    def _pictures(self, slot: int, count: int) -> torch.Tensor:
        """The slot itself, until nobody holds the tensor any more; a copy where the loop holds many."""
        self._take_back()
        if len(self._lent) >= LENT:
            copy = torch.from_numpy(self._slots[slot, :count].copy())
            self._filler.give_back(slot)
            return copy
        lent = self._slots[slot, :count].view()
        self._lent.add(slot)
        weakref.finalize(lent, self._returned.append, slot).atexit = False
        return torch.from_numpy(lent)

    def _take_back(self) -> None:
        while self._returned:
            slot = self._returned.popleft()
            self._lent.discard(slot)
            self._filler.give_back(slot)


class _Threads:
    """Fills in this process: where there can be no other."""

    def __init__(self, samples: Samples, slots: np.ndarray, threads: int) -> None:
        self._done: queue.SimpleQueue[Filled] = queue.SimpleQueue()
        self._reader = Reader(samples, slots, threads, self._done.put)
        self.read, self.give_back, self.end = self._reader.read, self._reader.give_back, self._reader.end

    def next(self) -> Filled:
        return self._done.get()


class _Process:
    """Fills in a process of its own, forked so that the first batch does not wait for imports.

    Its memory is anonymous: no name is left behind whoever is killed. It ends with its parent.
    """

    def __init__(self, samples: Samples, slots: np.ndarray, threads: int) -> None:
        context = multiprocessing.get_context("fork")
        theirs_in, self._orders = context.Pipe(duplex=False)
        self._filled, theirs_out = context.Pipe(duplex=False)
        ours = (self._orders, self._filled)
        work = (samples, slots, threads, theirs_in, theirs_out, ours, os.getpid())
        self._process = context.Process(target=_fill, args=work, daemon=True, name="loopwright-reader")
        with warnings.catch_warnings():  # this child takes none of its parent's locks
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            self._process.start()
        theirs_in.close()
        theirs_out.close()
        self._ended = weakref.finalize(self, _kill, self._process, os.getpid())

    def read(self, turn: int, keys: BatchKeys) -> None:
        self._order("read", turn, keys)

    def give_back(self, slot: int) -> None:
        self._order("give_back", slot)

    def next(self) -> Filled:
        try:
            return self._filled.recv()
        except (EOFError, OSError):
            raise self._died() from None

    def end(self) -> None:
        self._ended()

    def _order(self, *order: Any) -> None:
        try:
            self._orders.send(order)
        except OSError:
            raise self._died() from None

    def _died(self) -> DataError:
        self._process.join(1.0)
        return DataError(
            f"the process that reads pictures died (exit code {self._process.exitcode}). Did memory run out? Try smaller "
            "batches; workers=0 reads in this process and shows what happens"
        )


def _kill(process: Any, parent: int) -> None:
    if os.getpid() == parent:  # a process forked later holds this object, too
        process.kill()
        process.join()


def _fill(
    samples: Samples,
    slots: np.ndarray,
    threads: int,
    orders: Connection,
    filled: Connection,
    ours: tuple[Connection, Connection],
    parent: int,
) -> None:
    """The life of the process: hand orders to the reader until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to obey
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for end in ours:
        end.close()
    torch.set_num_threads(1)
    _keep_freed_memory()
    reader = Reader(samples, slots, threads, filled.send)
    try:
        while os.getppid() == parent:
            if orders.poll(_PARENT_CHECK):
                name, *arguments = orders.recv()
                getattr(reader, name)(*arguments)
    except (EOFError, OSError):
        pass  # the parent is gone
    os._exit(0)


def _keep_freed_memory() -> None:
    """Let the C library keep what is freed: a picture's memory taken anew from the system costs more than filling it."""
    with contextlib.suppress(AttributeError, OSError):  # another C library than glibc
        c_library = ctypes.CDLL(None)
        for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            c_library.mallopt(option, 2**30)


class RingEngine:
    """A ring for each iteration that goes on; there is one, unless an iteration begins while another goes on."""

    def __init__(self, samples: Samples, threads: int, *, own_process: bool) -> None:
        self._samples, self._threads, self._own_process = samples, threads, own_process
        self._idle: list[Ring] = []

    def batches(self, keys: BatchKeys) -> Iterator[LoadedBatch | LoadFailure]:
        ring = self._idle.pop() if self._idle else self._new_ring(keys.batch_size)
        try:
            yield from ring.batches(keys)
        except GeneratorExit:  # the loop was left early; the ring drops what it has read ahead when it is next asked
            self._idle.append(ring)
            raise
        self._idle.append(ring)  # not after an error: a process that died does not come back

    def close(self) -> None:
        while self._idle:
            self._idle.pop().end()

    def _new_ring(self, batch_size: int) -> Ring:
        return Ring(self._samples, self._threads, batch_size, own_process=self._own_process)
