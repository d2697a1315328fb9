"""``Mirrors``: all trackers of a run that goes on. None of them is a run without any: there is nothing to ask."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from ._apart import Apart
from ._beside import Beside
from ._follow import shown, sync_command
from ._mirror import Mirror
from ._tracker import Tracker


class _Carrier(Protocol):
    def end(self, state: str) -> None: ...
    def wait(self, until: float) -> None: ...


class _NoCarrier:
    def end(self, state: str) -> None:
        """Nobody follows."""

    def wait(self, until: float) -> None:
        """Nobody is waited for."""


class Mirrors:
    """Follow a run's record with each of its trackers, off the loop.

    Args:
        folder: of the run, whose record has begun.
        trackers: who follow it.
        tell: shows the user a line; called from threads.
    """

    def __init__(self, folder: Path, trackers: Sequence[Tracker], tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._carriers = [(self._carried(folder, tracker), tracker.patience) for tracker in trackers]

    def close(self, state: str) -> None:
        """The run has ended, its record is complete: wait for the trackers, for each as long as its patience says."""
        now = time.monotonic()
        for carrier, _ in self._carriers:
            carrier.end(state)
        for carrier, patience in self._carriers:
            carrier.wait(now + patience)
        self._carriers = []

    def _carried(self, folder: Path, tracker: Tracker) -> _Carrier:
        mirror = Mirror(folder, tracker)
        try:
            return (Apart if tracker.in_process else Beside)(mirror, self._say)
        except OSError as error:  # no room for a log, no process to be had
            self._say(f"{tracker.name}: {shown(error)}; training goes on. Later: {sync_command(mirror)}")
            return _NoCarrier()

    def _say(self, text: str) -> None:
        self._tell(f"tracker    {text}")
