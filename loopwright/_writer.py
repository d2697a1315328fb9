"""``Writer``: one job at a time beside the training loop, in a thread. Knows nothing about what it writes."""

import threading
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
