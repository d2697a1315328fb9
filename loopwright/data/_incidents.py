"""``Incidents``: readers that died or hung, told in words, and the samples that did it too often. Starts and ends none."""

import signal
from collections import Counter
from collections.abc import Iterable

LOOK_EVERY = 1.0  # seconds: how soon a reader that died or hangs is noticed, where its pipe does not tell
#: Seconds at one sample after which a reader hangs. A picture takes milliseconds, a sleeping disk ten seconds, a file
#: server that is started again a minute or two. Counted in looks, so that a machine that slept has not waited.
HUNG_AFTER = 120.0
TIMES = 3  # that readers may end at a sample, one after the other, before it is held to be the cause


class Incidents:
    """What is known of a loader's readers that ended before their time.

    >>> incidents = Incidents()
    >>> [incidents.is_cause(7) for _ in range(3)]
    [False, False, True]
    >>> incidents.is_cause(8), incidents.suspects
    (False, True)
    >>> incidents.was_read([8, 9]); incidents.suspects
    False
    """

    def __init__(self) -> None:
        self.told: list[str] = []  # a message a reader
        self.left_out: dict[int, str] = {}  # samples that are not read any more, and why
        self._ends: Counter[int] = Counter()  # of readers, by the sample that they were at

    def is_cause(self, index: int) -> bool:
        """Note that a reader ended at a sample; whether it is the third in a row, with which the count begins anew."""
        self._ends[index] += 1
        if self._ends[index] < TIMES:
            return False
        del self._ends[index]
        return True

    @property
    def suspects(self) -> bool:
        """Whether there are samples at which a reader ended, and which were not read since."""
        return bool(self._ends)

    def was_read(self, indices: Iterable[int]) -> None:
        """Note that samples were read: that readers ended at them before was no fault of theirs."""
        for index in indices:
            self._ends.pop(index, None)


def how_ended(exit_code: int | None) -> str:
    """An exit code in words.

    >>> how_ended(-11), how_ended(3), how_ended(None)
    ('was ended by SIGSEGV', 'ended with exit code 3', 'ended')
    """
    if exit_code is None:
        return "ended"
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    names = {int(number): number.name for number in signal.Signals}
    return f"was ended by {names.get(-exit_code, f'signal {-exit_code}')}"
