"""``Meetings``: the steps at which several ranks agree on what time it is and whether somebody wants them to stop.

Clocks and signals differ from rank to rank, and a rank that saved or stopped alone would wait for the others for ever.
So between two meetings time stands still and nobody heard anything; a meeting takes what rank 0's clock says, and any
rank's signal. All ask after one step and hear after the next, so none waits for the others' words.
"""

import math
import time
from typing import Any

from ._distributed import Answer, Ranks
from ._signals import Signals

APART = 0.5  # seconds between two meetings, about
MOST_STEPS = 1000


class NoMeetings:
    """One process: its own clock, its own signals, at once."""

    next_step = math.inf
    own_clock = True

    def now(self) -> float:
        """Seconds, from any moment."""
        return time.perf_counter()

    def ask(self, step: int, retry_at: float) -> None:
        """There is nobody."""

    def hear(self, step: int, retry_at: float) -> float:
        """Nobody to agree with."""
        return retry_at


class Meetings:
    """All ranks ask and hear at the same steps: ``next_step`` of the time before, and where an epoch ends."""

    own_clock = False

    def __init__(self, ranks: Ranks, signals: Signals) -> None:
        self._ranks, self._signals = ranks.aside(), signals
        self._now, self._step = 0.0, 0
        self.next_step: float = 0
        self._asked: tuple[int, Answer[tuple[float, float, Any]]] | None = None  # at which step
        signals.waits = True
        self.ask(0, math.inf)
        self.hear(0, math.inf)

    def now(self) -> float:
        """Seconds on rank 0's clock, at the last meeting."""
        return self._now

    def ask(self, step: int, retry_at: float) -> None:
        """Say what time it is here and which signal came; and of rank 0 when it wants to try to save again."""
        self._asked = step, self._ranks.ask((time.perf_counter(), retry_at, self._signals.noted))
        self.next_step = step + 1

    def hear(self, step: int, retry_at: float) -> float:
        """Agree on what was said, if it was; returns when rank 0 wanted to try to save again."""
        if self._asked is None:
            return retry_at
        (asked, answer), self._asked = self._asked, None
        said = answer.get()
        now, retry_at, _ = said[0]
        if self._signals.received is None:
            self._signals.received = next((signal for _, _, signal in said if signal is not None), None)
        rate = (asked - self._step) / max(now - self._now, 1e-6)
        self._now, self._step = now, asked
        self.next_step = step + min(max(1, int(APART * rate)), MOST_STEPS)
        return retry_at


def meetings_of(ranks: Ranks, signals: Signals) -> NoMeetings | Meetings:
    """How so many processes agree."""
    return NoMeetings() if ranks.position.size == 1 else Meetings(ranks, signals)
