"""``Writer`` and ``Line``: one job, or a few, beside the training loop, in a thread. Know nothing about what they write."""

import threading
from collections import deque
from collections.abc import Callable


class Writer:
    """Does a job in the background; what went wrong is raised where its end is asked for.

    >>> writer, done = Writer(), []
    >>> writer.begin(lambda: done.append(1))
    >>> writer.wait()
    >>> done
    [1]
    """

    def __init__(self, finished: Callable[[], object] = lambda: None) -> None:
        self._finished = finished  # called in the thread, after each job
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_settled(self) -> bool:
        """Whether the end of the last job was asked for, or there was none."""
        return self._thread is None

    def begin(self, job: Callable[[], object]) -> None:
        """Begin a job; the one before must have been waited for."""
        assert self._thread is None, "one job at a time: wait() for the one before"
        self._thread = threading.Thread(target=self._do, args=(job,), name="loopwright-writer", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the job, and raise what it raised."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread, error, self._error = None, self._error, None
        if error is not None:
            raise error

    def _do(self, job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException as error:
            self._error = error
        finally:
            self._finished()


class Line:
    """Jobs one after another beside the loop. Where ``most`` of them wait, whoever brings another one waits, too.

    A job must not raise. The thread ends when there is nothing left to do: a process that is forked seldom meets it.

    >>> line, done = Line(2), []
    >>> for number in range(4):
    ...     line.add(lambda number=number: done.append(number))
    >>> line.settle(), done
    (True, [0, 1, 2, 3])
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: deque[Callable[[], object]] = deque()
        self._works = False
        self._changed = threading.Condition()

    def add(self, job: Callable[[], object]) -> None:
        """Put a job at the end."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._jobs) < self._most)
            self._jobs.append(job)
            if not self._works:
                self._works = True
                threading.Thread(target=self._work, name="loopwright-pictures", daemon=True).start()

    def settle(self, seconds: float | None = None) -> bool:
        """Wait until all is done, or for some seconds; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._works, seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._jobs:
                    self._works = False
                    self._changed.notify_all()
                    return
                job = self._jobs[0]
            job()
            with self._changed:
                self._jobs.popleft()
                self._changed.notify_all()
