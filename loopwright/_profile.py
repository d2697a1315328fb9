"""``profile``: what some steps of a loop spend their time on, as a trace. Knows nothing of runs; give it their folder."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity

from ._errors import ConfigError
from ._files import replace_file

FOLDER = "profile"
ROWS = 40  # of the table


class Profiler:
    """Counts the steps of a loop, and records some of them. Made by ``profile``."""

    def __init__(self, folder: Path, steps: int, skip: int) -> None:
        self.folder = folder / FOLDER
        self.trace: Path | None = None  # the file, once it is written
        self._first, self._end, self._done = skip, skip + steps, 0
        self._recorder: torch.profiler.profile | None = None

    def step(self) -> None:
        """To be called at the end of each step."""
        self._done += 1
        if self._recorder is not None:
            self._recorder.step()
        if self._done == self._first:
            self.begin()
        elif self._done == self._end:
            self.end()

    def begin(self) -> None:
        """Record from here on, if not all is skipped still."""
        if self._done == self._first and self._recorder is None:
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
            # One cycle, so there is nothing to keep; without acc_events= torch 2.11 warns that nothing is kept.
            self._recorder = torch.profiler.profile(activities=activities, record_shapes=True, acc_events=True)
            self._recorder.start()

    def end(self) -> None:
        """Write what was recorded, once."""
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return
        recorder.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"steps-{self._first + 1}-{max(self._done, self._first + 1)}"
        aside = self.folder / f"{name}.part.json"
        recorder.export_chrome_trace(str(aside))
        self.trace = aside.replace(self.folder / f"{name}.json")
        order = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = recorder.key_averages().table(sort_by=order, row_limit=ROWS)
        replace_file(self.folder / f"{name}.txt", table + "\n")

    def close(self) -> None:
        """At the end of the context: write what is not written."""
        self.end()
        if self.trace is None:
            warnings.warn(
                f"profile: nothing was recorded, since {self._done} steps were counted and {self._first} are skipped: "
                "call profiler.step() at the end of each step, or give a smaller skip=",
                stacklevel=4,
            )


@contextmanager
def profile(folder: str | Path, *, steps: int = 5, skip: int = 5) -> Iterator[Profiler]:
    """Record some steps of a loop with ``torch.profiler``, from within a run or without one.

    Args:
        folder: such as ``run.folder``. FOLDER/profile/steps-6-10.json is the trace, to be opened in chrome://tracing or
            ui.perfetto.dev; the .txt beside it is a table of the operations that took longest.
        steps: how many to record, 1 or more.
        skip: how many go before them, 0 or more: the first ones also load, compile and choose kernels.

    Yields:
        What ``step()`` is called of at the end of each step. Recording costs time, so it stops after the last step, while
        the loop goes on. Left early, also by an error, it writes what it has.

    >>> import tempfile
    >>> with profile(tempfile.mkdtemp(), steps=2, skip=1) as profiler:
    ...     for _ in range(4):
    ...         _ = torch.ones(8, 8) @ torch.ones(8, 8)
    ...         profiler.step()
    >>> profiler.trace.name
    'steps-2-3.json'
    """
    if steps < 1 or skip < 0:
        raise ConfigError(f"profile: steps must be 1 or more and skip 0 or more. Found: steps={steps}, skip={skip}")
    profiler = Profiler(Path(folder), steps, skip)
    profiler.begin()
    try:
        yield profiler
    finally:
        profiler.close()
