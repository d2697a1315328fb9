"""Polite interruption: the first SIGTERM, SIGUSR1 or Ctrl-C is noted and obeyed at the next boundary, the second one at
once. SIGTERM and SIGUSR1 are what schedulers send before they take a machine away."""

import contextlib
import os
import signal
import threading
import time
from types import FrameType
from typing import Any

AGENT = "TORCHELASTIC_RUN_ID"  # torch's elastic agent started this process, and would start one that failed again
LEFT = "LOOPWRIGHT_LEFT"  # a file of who started us, for the number of the signal that we left by
ECHO_SECONDS = 5.0  # an agent passes on what its processes may have got themselves


class Signals:
    """Holds the handlers while a run is open. In threads other than the main one it notes nothing."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None  # and is to be obeyed
        self.noted: signal.Signals | None = None
        self.waits = False  # whether others decide when what was noted is to be obeyed
        self._noted_at = 0.0
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
            raise _end_by(self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.noted is not None:
            if number == self.noted and self._is_echo():
                return
            self.received = self.noted
            self.leave()
        self.noted, self._noted_at = signal.Signals(number), time.monotonic()
        if not self.waits:
            self.received = self.noted

    def _is_echo(self) -> bool:
        return AGENT in os.environ and time.monotonic() - self._noted_at < ECHO_SECONDS


def _end_by(number: signal.Signals) -> SystemExit:
    """128 + its number. For torch's agent 0, which it does not start again; who started the agent reads the number."""
    end = SystemExit(128 + number)
    if AGENT in os.environ:
        end.code = 0
        with contextlib.suppress(OSError, KeyError), open(os.environ[LEFT], "r+") as file:  # where it is there only
            file.write(str(int(number)))
    return end
