"""``Display``: how fast the loops go, shown on the screen that suits. Counts samples and seconds, nothing else."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ._progress import Screen, bar, epoch_line, loop_line, seconds_text
from ._speed import Speed


@dataclass(eq=False)
class _Loop:
    title: str
    length: int | None
    speed: Speed = field(default_factory=Speed)


class Display:
    """The live lines, and the rates that they and the record show."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._loops: list[_Loop] = []
        self._epoch = Speed()
        self._began = time.perf_counter()
        self._began_at: float | None = None  # how many epochs were done when this life began
        self.next_draw = self._began + screen.seconds

    @contextlib.contextmanager
    def loop(self, title: str, length: int | None, *, training: bool) -> Iterator[Speed]:
        """A loop over batches begins, which counts what it does; loops may be nested.

        Only training counts for the epoch's rates.
        """
        loop = _Loop(title, length)
        self._loops.append(loop)
        try:
            yield loop.speed
        finally:
            self._loops.remove(loop)
            if training:
                self._epoch.samples += loop.speed.samples
                self._epoch.waited += loop.speed.waited

    def begin_epoch(self) -> None:
        self._epoch.start()

    def loop_rates(self) -> dict[str, float]:
        return self._loops[-1].speed.read()

    def epoch_rates(self) -> dict[str, float]:
        return self._epoch.read()

    def draw(self, values: Mapping[str, float], *, epoch: int, epochs: int | None, step: int) -> None:
        """Redraw the live lines."""
        self.next_draw = time.perf_counter() + self._screen.seconds
        loop = self._loops[-1]
        line = loop_line(loop.title, loop.speed.batches, loop.length, values, loop.speed.read())
        self._screen.draw([*self._overall(epoch, epochs, step), line])

    def print_epoch(self, epoch: int, epochs: int | None, step: int, values: Mapping[str, float], remark: str) -> None:
        """The permanent line of an epoch."""
        self._screen.erase()
        print(epoch_line(epoch + 1, epochs, step, values, self._epoch.read()) + remark, flush=True)

    def print(self, lines: Sequence[str]) -> None:
        for line in lines:
            print(line, flush=True)

    def erase(self, text: str = "") -> None:
        self._screen.erase(text)

    def _overall(self, epoch: int, epochs: int | None, step: int) -> list[str]:
        if not epochs:
            return []
        outer = self._loops[0]
        done = epoch + (min(outer.speed.batches / outer.length, 1.0) if outer.length else 0.0)
        if self._began_at is None:
            self._began_at, self._began = done, time.perf_counter()
        gone = done - self._began_at
        left = (time.perf_counter() - self._began) / gone * (epochs - done) if gone > 0 else math.inf
        return [f"epoch {epoch + 1}/{epochs} {bar(done, epochs)} step {step}  {seconds_text(left)} left in all"]
