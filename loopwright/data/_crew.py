"""``Processes`` and ``Threads``: several readers that fill the parts of a board as these are ordered. Know no batches.

A Python thread beside the training loop would take the interpreter from it: 178 launches of small operations a second
were left of 384,000. And two threads that decode take it from each other: two processes read a sixth more pictures.
"""

import os
import queue
import select
import threading
import time
import weakref
from collections import deque
from typing import Protocol

from .._errors import DataError
from ._board import Board, Part
from ._incidents import HUNG_AFTER, LOOK_EVERY, TIMES, Incidents, how_ended
from ._posts import Posts
from ._reader import Filled, Reader
from ._reader_process import TAKING, Answer, Order, Orders, ReaderProcess
from ._samples import LoadFailure, Samples, Unreadable

MOST_ORDERS = 1000  # that are well to have wait: a pipe has room for 64 KB, where the system is not short of it
_SOON = 0.01  # seconds
_DEATHS_IN_A_ROW = 10  # and three a reader: that may die with nothing read between


class Crew(Protocol):
    """Readers, seen from the loop."""

    def order(self, part: Part) -> None:
        """Have a part filled by whoever is free first."""
        ...

    def next(self) -> Filled:
        """Wait for what is filled: a part as it was ordered or a piece of it, each row once; in any order."""
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
    """Readers in processes of their own. One that dies or hangs is replaced, and what it had taken is ordered again.

    Orders go through one pipe, of which each takes the next when it is free; only they and labels cross pipes. The
    memory is anonymous: no name is left behind whoever is killed. The readers end with their parent.

    What a dead reader had taken is found by elimination, since it may have died before it said so: the pipe is first in,
    first out, so how full it is says which orders were taken; of these one is lost that no living reader is at and that
    was not answered. A part is filled by one process at a time, and is ordered again only when the one before is dead.
    """

    def __init__(self, samples: Samples, board: Board, count: int, incidents: Incidents) -> None:
        self._samples, self._board, self._incidents = samples, board, incidents
        self._pipe, self._posts = Orders(), Posts(count)
        self._readers: dict[int, ReaderProcess] = {}  # by the descriptor of its inbox
        self._empty_seats = list(range(count))
        self._to_order: deque[Part] = deque()
        self._ordered: dict[int, Part] = {}  # by the order's number; not answered yet
        self._next_number = 0
        self._arrived: deque[Filled] = deque()
        self._deaths_in_a_row, self._some_lost = 0, False
        self._ready, self._look_at = select.poll(), time.monotonic() + LOOK_EVERY
        self._ended = weakref.finalize(self, _end, self._readers, self._pipe, os.getpid())
        self._fill_seats()

    def order(self, part: Part) -> None:
        self._line_up(part)
        self._give_orders()

    def next(self) -> Filled:
        while not self._arrived:
            self._give_orders()
            self._wait()
            if self._some_lost:
                self._find_lost()
        return self._arrived.popleft()

    def end(self) -> None:
        self._ended()

    def _line_up(self, part: Part) -> None:
        """Have a part wait to be ordered, in pieces around the samples that are left out."""
        start = part.start
        if left_out := self._incidents.left_out:
            for row, index in enumerate(self._board.read(part).indices, part.start):
                if index in left_out:
                    self._to_order.extend([part._replace(start=start, stop=row)] if row > start else [])
                    only = part._replace(start=row, stop=row + 1)
                    self._arrived.append(Filled(only, [Unreadable(left_out[index])]))
                    start = row + 1
        self._to_order.extend([part._replace(start=start)] if part.stop > start else [])

    def _give_orders(self) -> None:
        while self._to_order and self._pipe.give(Order(self._next_number, self._to_order[0])):
            self._ordered[self._next_number] = self._to_order.popleft()
            self._next_number += 1

    def _wait(self) -> None:
        """Wait for a message, or for the next look."""
        for descriptor, _ in self._ready.poll(1000 * (_SOON if self._some_lost else LOOK_EVERY)):
            reader = self._readers[descriptor]
            self._hear(reader)
            if reader.inbox.ended:
                self._replace(reader)
        if time.monotonic() >= self._look_at:
            self._look()
            self._look_at = time.monotonic() + LOOK_EVERY

    def _hear(self, reader: ReaderProcess) -> None:
        for answer in reader.inbox.read():
            self._take(answer)

    def _take(self, answer: Answer) -> None:
        number, rests, failure = answer
        part = self._ordered.pop(number)
        if self._incidents.suspects:
            self._incidents.was_read(self._board.read(part).indices)
        self._deaths_in_a_row = 0
        self._arrived.append(Filled(part, rests, failure))

    def _look(self) -> None:
        """Find the readers that died or hang."""
        for reader in list(self._readers.values()):
            if reader.is_gone():
                self._replace(reader)
            elif reader.looks_unchanged() * LOOK_EVERY >= HUNG_AFTER:
                self._replace(reader, f"hung, and was ended after {HUNG_AFTER:g} seconds")
        self._fill_seats()

    def _replace(self, reader: ReaderProcess, how: str = "") -> None:
        """Put a new reader in the place of one that died, or that is to."""
        reader.kill()
        self._ready.unregister(reader.inbox)
        del self._readers[reader.inbox.fileno()]
        reader.wait()
        self._hear(reader)
        reader.inbox.close()
        self._empty_seats.append(reader.seat)
        self._some_lost = True
        self._deaths_in_a_row += 1
        self._tell(reader, how or how_ended(reader.exit_code))
        self._fill_seats()

    def _fill_seats(self) -> None:
        """Start the readers that are missing; where there is no room for all of them, as many as there is room for."""
        while self._empty_seats:
            seat = self._empty_seats[-1]
            try:
                reader = ReaderProcess(
                    seat, self._posts[seat], self._samples, self._board, self._pipe, list(self._readers)
                )
            except OSError as error:
                if self._readers:
                    return
                raise DataError(
                    f"no process that reads pictures can be started ({error}). Free memory, or use workers=0, which reads "
                    "in this process"
                ) from error
            self._empty_seats.pop()
            self._readers[reader.inbox.fileno()] = reader
            self._ready.register(reader.inbox, select.POLLIN)

    def _tell(self, reader: ReaderProcess, how: str) -> None:
        """Say what happened to a reader, and decide what is to be done about the sample that it was at."""
        index = self._sample_at(reader)
        held = "it was at no picture" if index is None else f"it was at {self._samples.name_of(index)} (sample {index})"
        who = f"a process that reads pictures ({reader.pid}) {how}"
        self._incidents.told.append(f"{who}; {held}. Another takes its place, and the batches stay the same")
        if index is not None and self._incidents.is_cause(index):
            self._give_up(reader.post.task, index, how)
        elif self._deaths_in_a_row >= _DEATHS_IN_A_ROW + TIMES * len(self._posts):
            raise DataError(
                f"{who}; {held}. It is the last of {self._deaths_in_a_row} that died without one picture read between. "
                "Did memory run out? Try smaller batches or fewer workers; workers=0 reads in this process and shows what "
                "happens"
            )

    def _sample_at(self, reader: ReaderProcess) -> int | None:
        """What a dead reader had begun and not ended."""
        part = self._ordered.get(reader.post.task)
        return None if part is None else self._board.read(part).indices[reader.post.place]

    def _give_up(self, number: int, index: int, how: str) -> None:
        """A sample ends whoever reads it: leave it out, or make its part an error."""
        self._deaths_in_a_row = 0
        what = f"{self._samples.name_of(index)}: {TIMES} processes died or hung at it in turn; the last {how}"
        if self._samples.skips_unreadable:
            self._incidents.left_out[index] = what
            return
        advice = (
            "The file is damaged so that its decoder fails, or too large for the memory. Remove it, or leave it out with "
            "on_error='skip'"
        )
        part = self._ordered.pop(number)
        self._arrived.append(Filled(part, [], LoadFailure(f"{what}. {advice}", "", ours=True)))

    def _find_lost(self) -> None:
        """Order again what dead readers had taken."""
        taken = self._next_number - self._pipe.waiting()  # first of all: what is taken later is not in question
        held = {reader.post.task for reader in self._readers.values()}
        if TAKING in held:  # which one, it is about to say
            return
        for reader in self._readers.values():  # whoever was at another order by then has answered the one before
            self._hear(reader)
        for number in [number for number in self._ordered if number < taken and number not in held]:
            self._line_up(self._ordered.pop(number))
        self._some_lost = False
        self._give_orders()


def _end(readers: dict[int, ReaderProcess], pipe: Orders, parent: int) -> None:
    if os.getpid() != parent:  # a process forked later holds this object, too
        return
    for reader in readers.values():
        reader.kill()
    for reader in readers.values():
        reader.wait()
        reader.inbox.close()
    pipe.close()
