"""``Beside``: a mirror in a thread of the training, for trackers that cost it little. One that hangs is left there."""

import threading
import time
from collections.abc import Callable

from ._follow import follow, sync_command
from ._mirror import Mirror


class Beside:
    """Follows a run in a thread that no exit waits for."""

    def __init__(self, mirror: Mirror, say: Callable[[str], object]) -> None:
        self._mirror, self._say = mirror, say
        self._state: str | None = None
        self._ended = threading.Event()
        self._left = False
        name = f"loopwright-{mirror.tracker.name}"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def end(self, state: str) -> None:
        """The run has ended; does not wait."""
        self._state = state
        self._ended.set()

    def wait(self, until: float) -> None:
        """Give the tracker the time that is left until then, of ``time.monotonic``."""
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self._left = True
            self._say(left_behind(self._mirror))

    def _work(self) -> None:
        follow(self._mirror, self._has_ended, self._tell)

    def _has_ended(self, seconds: float) -> str | None:
        self._ended.wait(seconds)
        return self._state

    def _tell(self, text: str) -> None:
        if not self._left:  # else nobody listens any more
            self._say(text)


def left_behind(mirror: Mirror) -> str:
    """What to say of a tracker that did not come to its end in time."""
    tracker = mirror.tracker
    return (
        f"{tracker.name} did not take the end of the record within {tracker.patience:g} s and is left behind. "
        f"The record is complete; to hand over the rest: {sync_command(mirror)}"
    )
