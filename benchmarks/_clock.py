"""Batches that time whoever takes them. Knows nothing about the system that does.

Frameworks own their loops, so nothing outside can time a step; but all of them must ask for the next batch. This
iterable is asked, and between two answers it can run a bare loop of its own. So a framework's steps and bare steps
alternate within one process every few milliseconds, and what the machine does to one it does to the other: a
difference of some microseconds shows, over steps of 600 us that drift by tens of them.
"""

from __future__ import annotations

import itertools
import resource
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks._task import Batch

WARM = 100
CHUNK = 5


@dataclass(frozen=True)
class Instant:
    """Where the clocks stand, in seconds: on the wall, of the processor for this process, and for this thread."""

    wall: float
    cpu: float
    thread: float
    preempted: int  # how often the core was taken from this thread

    @classmethod
    def now(cls) -> Instant:
        preempted = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        return cls(time.perf_counter(), time.process_time(), time.thread_time(), preempted)

    def __sub__(self, other: Instant) -> Instant:
        return Instant(
            self.wall - other.wall,
            self.cpu - other.cpu,
            self.thread - other.thread,
            self.preempted - other.preempted,
        )


@dataclass
class TimedBatches:
    """An iterable of `len` batches: some to warm up, `alone` timed without company, `paired` timed in turns with `bare`.

    `bare` does one bare step each time it is asked: one endless loop, for to enter a new one with each chunk would cost
    the bare side some 20 us a chunk. Chunks are equal, because the first step after a switch is slower, on both sides.
    """

    batches: Sequence[Batch]
    alone: int
    paired: int
    bare: Iterator[None]
    warm: int = WARM
    inside_s: float = 0.0
    _alone: Instant = Instant(0.0, 0.0, 0.0, 0)
    _paired: list[tuple[Instant, Instant]] = field(default_factory=list)
    _thread: int = field(default_factory=threading.get_ident)

    def __len__(self) -> int:
        return self.warm + self.alone + self.paired

    def __iter__(self) -> Iterator[Batch]:
        # A batch fetched ahead by another thread would have its bare steps timed beside the framework's, not between.
        assert threading.get_ident() == self._thread, "batches must be taken by the thread that trains"
        first_asked = time.perf_counter()
        endless = itertools.cycle(self.batches)
        yield from itertools.islice(endless, self.warm)
        began = Instant.now()
        yield from itertools.islice(endless, self.alone)
        self._alone = Instant.now() - began
        _take(self.bare, self.warm)
        for _ in range(self.paired // CHUNK):
            first = Instant.now()
            _take(self.bare, CHUNK)
            second = Instant.now()
            yield from itertools.islice(endless, CHUNK)
            self._paired.append((second - first, Instant.now() - second))
        self.inside_s = time.perf_counter() - first_asked

    def figures(self) -> dict[str, float]:
        """Microseconds a step: the system alone, the bare loop, and the mean by which the system exceeds it.

        Means, not medians, over the pairs: a display drawn ten times a second counts although most chunks have none.
        """
        undisturbed = [pair for pair in self._paired if not (pair[0].preempted or pair[1].preempted)]
        pairs = undisturbed or self._paired
        return {
            "alone_wall": self._alone.wall * 1e6 / self.alone,
            "alone_cpu": self._alone.cpu * 1e6 / self.alone,
            "others_cpu": (self._alone.cpu - self._alone.thread) * 1e6 / self.alone,
            "undisturbed": len(undisturbed) / len(self._paired),
            **_compare(pairs, "wall"),
            **{f"all_{name}": value for name, value in _compare(self._paired, "wall").items()},
            **_compare(self._paired, "cpu"),
        }


def _compare(pairs: Sequence[tuple[Instant, Instant]], clock: str) -> dict[str, float]:
    """Microseconds a step, of pairs of chunks."""
    bare = statistics.fmean(getattr(bare, clock) for bare, _ in pairs) * 1e6 / CHUNK
    system = statistics.fmean(getattr(system, clock) for _, system in pairs) * 1e6 / CHUNK
    return {f"bare_{clock}": bare, f"over_{clock}": system - bare}


def _take(steps: Iterator[None], count: int) -> None:
    for _ in itertools.islice(steps, count):
        pass
