"""What a person sees while training: one permanent line an epoch, live lines below. Formats and draws; measures nothing.

Screens differ by where they are: a terminal redraws its live lines, a notebook updates one output, a log or a pipe gets
a plain line now and then, and nothing ever gets half a bar. Drawing happens in the loop's own thread, a few times a
second: a thread of its own would take the interpreter from the loop.
"""

import math
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TextIO

from ._hung_up import without_terminal

BAR_WIDTH = 24


class Screen(Protocol):
    """A place to draw on. ``seconds`` is the time between drawings that suits it."""

    seconds: float

    def draw(self, lines: Sequence[str]) -> None:
        """Show the live lines in place of the last ones."""
        ...

    def erase(self, text: str = "") -> None:
        """Make room: ``text`` is about to be printed."""
        ...


class Silent:
    """Shows nothing live."""

    seconds = math.inf

    def draw(self, lines: Sequence[str]) -> None:
        """Nothing to draw on."""

    def erase(self, text: str = "") -> None:
        """Nothing was drawn."""


class PlainLines:
    """A log or a pipe: the first live line, printed as a line of its own twice a minute."""

    seconds = 30.0

    def draw(self, lines: Sequence[str]) -> None:
        if lines:
            print(_writable(lines[-1], sys.stdout), flush=True)

    def erase(self, text: str = "") -> None:
        """A printed line stays."""


class Terminal:
    """Live lines at the foot of a terminal, redrawn in place."""

    seconds = 0.5

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = 0
        self._at_line_start = True

    def draw(self, lines: Sequence[str]) -> None:
        width = self._columns() - 1
        start = self._to_start() if self._drawn else ("" if self._at_line_start else "\n")
        with without_terminal(self._stream):
            self._stream.write(_writable(start + "\n".join(line[:width] for line in lines), self._stream))
            self._stream.flush()
        self._drawn, self._at_line_start = len(lines), False

    def erase(self, text: str = "") -> None:
        if self._drawn:
            with without_terminal(self._stream):
                self._stream.write(self._to_start())
            self._drawn, self._at_line_start = 0, True
        if text:
            self._at_line_start = text.endswith("\n")

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):  # not a real terminal
            return shutil.get_terminal_size().columns

    def _to_start(self) -> str:
        up = f"\x1b[{self._drawn - 1}A" if self._drawn > 1 else ""
        return f"\r{up}\x1b[J"  # to the first live line, and clear from there on


class Notebook:
    """One output cell that is updated."""

    seconds = 0.5

    def __init__(self) -> None:
        from IPython.display import display  # type: ignore[import-not-found] - a notebook has it

        self._handle = display({"text/plain": ""}, raw=True, display_id=True)

    def draw(self, lines: Sequence[str]) -> None:
        self._handle.update({"text/plain": "\n".join(lines)}, raw=True)

    def erase(self, text: str = "") -> None:
        if not text:
            self.draw([])


def _writable(text: str, stream: TextIO) -> str:
    """The text in what the stream's encoding has; a bar in ``latin-1`` is one of question marks."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def choose_screen(progress: bool | None, stream: TextIO | None) -> Screen:
    """The screen for where the output goes. ``progress=False`` draws nothing, None and True what suits."""
    if progress is False or stream is None:
        return Silent()
    if "ipykernel" in sys.modules and not stream.isatty():
        return Notebook()
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return Terminal(stream)
    return PlainLines()


def bar(done: float, total: float) -> str:
    """How much is done.

    >>> bar(1, 2)
    '━━━━━━━━━━━━────────────'
    """
    full = round(BAR_WIDTH * min(done / total, 1.0)) if total else 0
    return "━" * full + "─" * (BAR_WIDTH - full)


def value_text(value: float) -> str:
    """Four digits that matter.

    >>> value_text(0.0031), value_text(12.34567), value_text(0.5)
    ('0.0031', '12.35', '0.5000')
    """
    if not math.isfinite(value):
        return str(value)
    if value != 0 and not 0.01 <= abs(value) < 1e5:
        return f"{value:.4g}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def values_text(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value_text(value)}" for name, value in values.items())


def seconds_text(seconds: float) -> str:
    """A length of time as a person writes it.

    >>> seconds_text(9), seconds_text(75), seconds_text(7260)
    ('9 s', '1:15', '2:01:00')
    """
    if not math.isfinite(seconds):
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def rates_text(rates: Mapping[str, Any]) -> str:
    """Samples a second, the share of time spent waiting for data, and peak device memory where there is a device."""
    text = f"{rates['samples_per_second']:.0f} images/s  waiting {100 * rates['waiting']:.0f} %"
    return text + (f"  {rates['peak_gib']:.1f} GiB" if "peak_gib" in rates else "")


def loop_line(title: str, done: int, total: int | None, values: Mapping[str, float], rates: Mapping[str, Any]) -> str:
    """The live line of one loop over batches.

    >>> loop_line("train", 5, 10, {"loss": 1.25}, {"samples_per_second": 100, "waiting": 0.02, "seconds": 5})
    'train ━━━━━━━━━━━━──────────── 5/10  loss 1.2500  100 images/s  waiting 2 %  5 s left'
    """
    if total:
        left = rates["seconds"] / max(done, 1) * (total - done)
        return f"{title} {bar(done, total)} {done}/{total}  {_spaced(values)}{rates_text(rates)}  {seconds_text(left)} left"
    return f"{title} {done} batches  {_spaced(values)}{rates_text(rates)}"


def epoch_line(epoch: int, epochs: int | None, step: int, values: Mapping[str, float], rates: Mapping[str, Any]) -> str:
    """The permanent line of a finished epoch."""
    of = f"/{epochs}" if epochs else ""
    return (
        f"epoch {epoch:>{len(str(epochs or epoch))}}{of}  step {step}  {_spaced(values)}"
        f"{rates_text(rates)}  {seconds_text(rates['seconds'])}"
    )


def _spaced(values: Mapping[str, float]) -> str:
    return values_text(values) + "  " if values else ""
