"""``Meetings``: the steps at which several ranks agree on what time it is and whether somebody wants them to stop.

Clocks and signals differ from rank to rank, and a rank that saved or stopped alone would wait for the others for ever.
So between two meetings time stands still and nobody heard anything; a meeting takes what rank 0's clock says, and any
rank's signal.
"""

import math
import time

from ._distributed import Ranks
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

    def meet(self, step: int, retry_at: float) -> float:
        """Nobody to agree with."""
        return retry_at


class Meetings:
    """All ranks call ``meet`` at the same steps: ``next_step`` of the one before, and where an epoch ends."""

    own_clock = False

    def __init__(self, ranks: Ranks, signals: Signals) -> None:
        self._ranks, self._signals = ranks, signals
        self._now, self._step = 0.0, 0
        self.next_step: float = 0
        signals.waits = True
        self.meet(0, math.inf)

    def now(self) -> float:
        """Seconds on rank 0's clock, at the last meeting."""
        return self._now

    def meet(self, step: int, retry_at: float) -> float:
        """Agree; returns when rank 0 wants to try to save again."""
        said = self._ranks.gather((time.perf_counter(), retry_at, self._signals.noted))
        now, retry_at, _ = said[0]
        if self._signals.received is None:
            self._signals.received = next((signal for _, _, signal in said if signal is not None), None)
        rate = (step - self._step) / max(now - self._now, 1e-6)
        self._now, self._step = now, step
        self.next_step = step + min(max(1, int(APART * rate)), MOST_STEPS)
        return retry_at


def meetings_of(ranks: Ranks, signals: Signals) -> NoMeetings | Meetings:
    """How so many processes agree."""
    return NoMeetings() if ranks.position.size == 1 else Meetings(ranks, signals)
