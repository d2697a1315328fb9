"""``Processes`` and ``Threads``: several readers that fill the parts of a board as these are ordered. Know no batches.

A Python thread beside the training loop would take the interpreter from it: 178 launches of small operations a second
were left of 384,000. And two threads that decode take it from each other: two processes read a sixth more pictures.
"""

import contextlib
import ctypes
import gc
import multiprocessing
import os
import queue
import select
import signal
import threading
import warnings
import weakref
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch

from .._errors import DataError
from ._board import PART, Board, Part
from ._reader import Filled, Reader
from ._samples import Samples

MOST_ORDERS = 1000  # that may wait to be taken: a pipe holds 64 KB of them without blocking the loop
_PARENT_CHECK = 2000  # milliseconds
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


class Crew(Protocol):
    """Readers, seen from the loop."""

    def order(self, part: Part) -> None:
        """Have a part filled by whoever is free first; at most ``MOST_ORDERS`` may wait."""
        ...

    def next(self) -> Filled:
        """Wait for a part that is filled; they come in any order."""
        ...

    def end(self) -> None: ...


class Threads:
    """Readers in this process: where there can be no other."""

    def __init__(self, samples: Samples, board: Board, count: int) -> None:
        self._orders: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
        self._filled: queue.SimpleQueue[Filled] = queue.SimpleQueue()
        works = [(Reader(samples, board), self._orders, self._filled) for _ in range(count)]  # each its own randomness
        self._threads = [threading.Thread(target=_fill_in_thread, args=work, daemon=True) for work in works]
        for thread in self._threads:
            thread.start()
        self._ended = weakref.finalize(self, _order_end, self._orders, count)

    def order(self, part: Part) -> None:
        self._orders.put(part)

    def next(self) -> Filled:
        return self._filled.get()

    def end(self) -> None:
        self._ended()
        for thread in self._threads:
            thread.join()


def _order_end(orders: queue.SimpleQueue, count: int) -> None:
    for _ in range(count):
        orders.put(None)


def _fill_in_thread(reader: Reader, orders: queue.SimpleQueue, filled: queue.SimpleQueue) -> None:
    while (part := orders.get()) is not None:
        filled.put(reader.fill(part))


class Processes:
    """Readers in processes of their own, forked so that the first batch does not wait for imports.

    Orders go through one pipe, of which each takes the next when it is free; only they and labels cross pipes. The
    memory is anonymous: no name is left behind whoever is killed. The readers end with their parent.
    """

    def __init__(self, samples: Samples, board: Board, count: int) -> None:
        self._context = multiprocessing.get_context("fork")
        taken, self._orders = os.pipe()
        os.set_blocking(taken, False)  # of several that wait, one is quicker
        self._processes: list[Any] = []
        self._filled: dict[int, Connection] = {}
        self._ready = select.poll()
        self._ended = weakref.finalize(self, _end, self._processes, self._filled, self._orders, os.getpid())
        for _ in range(count):
            self._start(samples, board, taken)
        os.close(taken)

    def _start(self, samples: Samples, board: Board, orders: int) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        self._filled[ours.fileno()] = ours
        ends = (self._orders, *self._filled)
        work = (Reader(samples, board), orders, theirs, ends, os.getpid())
        process: Any = self._context.Process(target=_live, args=work, daemon=True, name="loopwright-reader")
        with warnings.catch_warnings():  # this child takes none of its parent's locks
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            process.start()
        theirs.close()
        self._processes.append(process)
        self._ready.register(ours, select.POLLIN)

    def order(self, part: Part) -> None:
        try:
            os.write(self._orders, part.packed())
        except OSError:
            raise self._died() from None

    def next(self) -> Filled:
        descriptor, _ = self._ready.poll()[0]
        try:
            return self._filled[descriptor].recv()
        except (EOFError, OSError):
            raise self._died() from None

    def end(self) -> None:
        self._ended()

    def _died(self) -> DataError:
        for process in self._processes:
            process.join(1.0 / len(self._processes))
        code = next((process.exitcode for process in self._processes if process.exitcode is not None), None)
        return DataError(
            f"a process that reads pictures died (exit code {code}). Did memory run out? Try smaller batches or fewer "
            "workers; workers=0 reads in this process and shows what happens"
        )


def _end(processes: list[Any], filled: dict[int, Connection], orders: int, parent: int) -> None:
    if os.getpid() != parent:  # a process forked later holds this object, too
        return
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    for connection in filled.values():
        connection.close()
    os.close(orders)


def _live(reader: Reader, orders: int, filled: Connection, ends: tuple[int, ...], parent: int) -> None:
    """The life of a process: fill the next part that is ordered, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to obey
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.freeze()  # to look through what the parent holds would make a copy of it
    for end in ends:
        os.close(end)
    torch.set_num_threads(1)
    _keep_freed_memory()
    ordered = select.poll()
    ordered.register(orders, select.POLLIN)
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while os.getppid() == parent:
            if ordered.poll(_PARENT_CHECK):
                with contextlib.suppress(BlockingIOError):  # another was quicker
                    filled.send(reader.fill(_next_part(orders)))
    os._exit(0)


def _next_part(orders: int) -> Part:
    data = os.read(orders, PART.size)  # all of it or nothing: it was written at once, and is shorter than a page
    if not data:
        raise EOFError
    return Part.unpacked(data)


def _keep_freed_memory() -> None:
    """Let the C library keep what is freed: a picture's memory taken anew from the system costs more than filling it."""
    with contextlib.suppress(AttributeError, OSError):  # another C library than glibc
        c_library = ctypes.CDLL(None)
        for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            c_library.mallopt(option, 2**30)
