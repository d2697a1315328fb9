"""Following a run with a mirror until it ends: looks for new lines, tells once what goes wrong, tries again.

Knows nothing of where it runs: in a thread of the training, or in a process of its own.
"""

import shlex
from collections.abc import Callable

from ._mirror import Mirror

EVERY = 1.0  # seconds between two looks
RETRY_SECONDS = (5.0, 20.0, 60.0, 300.0)  # after an error; the last one from then on


def follow(mirror: Mirror, ended: Callable[[float], str | None], say: Callable[[str], object]) -> bool:
    """Hand over until the run has ended; whether the tracker has all of it then.

    Args:
        ended: waits for so many seconds at most, less if the run ends; the state it ended in, None while it goes on.
        say: told what the user should read.
    """
    failures, opened, wait = 0, False, 0.0
    while True:
        state = ended(wait)
        try:
            if not opened:
                mirror.open()
                opened = True
            while mirror.hand_over():
                pass
            if failures:
                say(f"{mirror.tracker.name} has the record again")
            failures, wait = 0, EVERY
            if state is not None:
                mirror.close(state)
                return True
        except Exception as error:  # whatever a tracker does, training goes on
            failures += 1
            wait = RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1]
            if failures == 1:
                say(f"{mirror.tracker.name}: {shown(error)}; training goes on, and it is tried again")
            if state is not None:
                mirror.leave()
                say(lacking(mirror))
                return False


def shown(error: BaseException) -> str:
    """An error on one line, without the end of a long one."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 300 else f"{text[:297]}..."


def lacking(mirror: Mirror) -> str:
    """What to do about a tracker that has not got everything."""
    return f"{mirror.tracker.name} lacks some of the record. What it lacks: {sync_command(mirror)}"


def sync_command(mirror: Mirror) -> str:
    """The command that brings a tracker to where the record is."""
    return f"loopwright sync {shlex.quote(str(mirror.folder))} --to {mirror.tracker.name}"
