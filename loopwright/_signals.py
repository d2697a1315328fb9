"""Polite interruption: the first SIGTERM, SIGUSR1 or Ctrl-C is noted and obeyed at the next boundary, the second one at
once. SIGTERM and SIGUSR1 are what schedulers send before they take a machine away."""

import signal
import threading
from types import FrameType
from typing import Any


class Signals:
    """Holds the handlers while a run is open. In threads other than the main one it notes nothing."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None  # and is to be obeyed
        self.noted: signal.Signals | None = None
        self.waits = False  # whether others decide when what was noted is to be obeyed
        self._before: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)

    def remove(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before.clear()

    def leave(self) -> None:
        """Raise what the received signal stands for: ``KeyboardInterrupt``, or ``SystemExit`` with 128 + its number."""
        if self.received is signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.noted is not None:
            self.received = self.noted
            self.leave()
        self.noted = signal.Signals(number)
        if not self.waits:
            self.received = self.noted
