"""``ReaderProcess``: a reader in a process of its own, forked so that its first part does not wait for imports.

Knows neither what is ordered nor who else reads.
"""

import contextlib
import ctypes
import fcntl
import gc
import multiprocessing
import os
import select
import signal
import struct
import termios
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch

from ._board import Board, Part
from ._messages import Outbox, message_pipe
from ._posts import IDLE, Post
from ._reader import Filled, Reader
from ._samples import LoadFailure, Samples

TAKING = -2  # as the task of a post: an order, which one is not known yet
_PARENT_CHECK = 2000  # milliseconds
_END_WITHIN = 5.0  # seconds, of a process that is killed; one that waits for a dead disk ends when that answers
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


class Order(NamedTuple):
    """A part to fill. No two orders have the same number, and later ones have higher ones."""

    number: int
    part: Part

    def packed(self) -> bytes:
        return ORDER.pack(self.number, *self.part)


ORDER = struct.Struct("5q")

Answer = tuple[int, list[Any], LoadFailure | None]  # an order's number, and what ``Filled`` says: plain, so it is quick


class Orders:
    """The pipe that orders go through: whoever is free takes the next."""

    def __init__(self) -> None:
        self.taken, self.given = os.pipe()
        os.set_blocking(self.taken, False)  # of several that wait, one is quicker
        os.set_blocking(self.given, False)  # the system makes pipes small for who has many; and all may be dead

    def give(self, order: Order) -> bool:
        """Whether there was room for it."""
        try:
            os.write(self.given, order.packed())  # whole or nothing
        except BlockingIOError:
            return False
        return True

    def take(self) -> Order | None:
        """The next order; None if another was quicker. Whole or nothing: it was written at once, and is shorter than a
        page."""
        try:
            data = os.read(self.taken, ORDER.size)
        except BlockingIOError:
            return None
        if not data:
            raise EOFError
        number, *part = ORDER.unpack(data)
        return Order(number, Part(*part))

    def waiting(self) -> int:
        """How many orders nobody has taken: the last ones that were given."""
        held = fcntl.ioctl(self.taken, termios.FIONREAD, b"\0" * 4)
        return struct.unpack("i", held)[0] // ORDER.size

    def close(self) -> None:
        os.close(self.taken)
        os.close(self.given)


class ReaderProcess:
    """One process, and all that the loop has of it: what it has filled, and what it is at.

    Args:
        seat: which of the readers it is; its ``post`` is that seat's.
        others: descriptors of this process that it must not keep open.

    Raises:
        OSError: the system allows no further process.
    """

    def __init__(
        self, seat: int, post: Post, samples: Samples, board: Board, orders: Orders, others: Iterable[int]
    ) -> None:
        self.seat, self.post = seat, post
        post.begin(IDLE)
        self.inbox, outbox = message_pipe()
        ends = (orders.given, self.inbox.fileno(), *others)
        work = (Reader(samples, board, post.at), orders, outbox, post, ends, os.getpid())
        context = multiprocessing.get_context("fork")
        self._process: Any = context.Process(target=_live, args=work, daemon=True, name="loopwright-reader")
        self._seen, self._looks = (IDLE, 0), 0
        try:
            with warnings.catch_warnings():  # this child takes none of its parent's locks
                warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
                self._process.start()
        except BaseException:
            self.inbox.close()
            raise
        finally:
            outbox.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.exitcode

    def is_gone(self) -> bool:
        return not self._process.is_alive()

    def looks_unchanged(self) -> int:
        """Look at what it is at: how many looks in a row it has been at the same."""
        now = self.post.task, self.post.place
        self._looks = self._looks + 1 if now == self._seen and now[0] != IDLE else 0
        self._seen = now
        return self._looks

    def kill(self) -> None:
        """From here on it writes nothing any more, even where it waits for the system and is not gone yet."""
        self._process.kill()

    def wait(self) -> None:
        """Until a process that was killed is gone; not for ever."""
        self._process.join(_END_WITHIN)


def _live(reader: Reader, orders: Orders, outbox: Outbox, post: Post, ends: tuple[int, ...], parent: int) -> None:
    """The life of a process: fill the next part that is ordered, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to obey
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.freeze()  # to look through what the parent holds would make a copy of it
    for end in ends:
        os.close(end)
    torch.set_num_threads(1)
    _keep_freed_memory()
    ordered = select.poll()
    ordered.register(orders.taken, select.POLLIN)
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while os.getppid() == parent:
            if ordered.poll(_PARENT_CHECK):
                post.task = TAKING  # before it is taken: who looks for a lost order waits for this to change
                if (order := orders.take()) is not None:
                    post.begin(order.number)
                    _fill(reader, outbox, order)
                post.task = IDLE
    os._exit(0)


def _fill(reader: Reader, outbox: Outbox, order: Order) -> None:
    try:
        outbox.send(_answer(order, reader.fill(order.part)))
    except OSError:
        raise
    except Exception as error:  # what a sample holds besides its picture cannot be pickled
        outbox.send(_answer(order, reader.failed(order.part, error)))


def _answer(order: Order, filled: Filled) -> Answer:
    return order.number, filled.rests, filled.failure


def _keep_freed_memory() -> None:
    """Let the C library keep what is freed: a picture's memory taken anew from the system costs more than filling it."""
    with contextlib.suppress(AttributeError, OSError):  # another C library than glibc
        c_library = ctypes.CDLL(None)
        for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            c_library.mallopt(option, 2**30)
