"""``SharedMemory`` without a name, and ``Mutex``, a lock that the system opens when its holder dies. Know no content."""

import errno
import fcntl
import mmap
import multiprocessing.context
import os
import tempfile
import threading
import time
import weakref
from multiprocessing import reduction
from typing import Any

from .._errors import ConfigError
from ._size import shown_size


class SharedMemory:
    """Bytes, at first 0, that all processes see which are forked or spawned from this one. Takes memory where written.

    It has no name: when the last process is gone, by SIGKILL too, nothing is left behind.

    >>> memory = SharedMemory(16)
    >>> memory.bytes[3] = 7
    >>> bytes(memory.bytes[2:5])
    b'\\x00\\x07\\x00'
    """

    def __init__(self, size: int) -> None:
        descriptor = _nameless_file()
        try:
            os.ftruncate(descriptor, max(size, 1))
            self._map(descriptor, size)
        except (OSError, ValueError, OverflowError) as error:
            os.close(descriptor)
            raise ConfigError(f"{shown_size(size)} of shared memory cannot be had ({error}): ask for less") from error

    def _map(self, descriptor: int, size: int) -> None:
        self.size, self.descriptor = size, descriptor
        self.bytes = memoryview(mmap.mmap(descriptor, max(size, 1)))[:size]
        weakref.finalize(self, os.close, descriptor).atexit = False

    def __getstate__(self) -> dict[str, Any]:
        if multiprocessing.context.get_spawning_popen() is None:
            raise TypeError("shared memory goes to processes that are forked or spawned, not into a pickle")
        return {"size": self.size, "descriptor": reduction.DupFd(self.descriptor)}  # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._map(state["descriptor"].detach(), state["size"])

    def __deepcopy__(self, memo: Any) -> "SharedMemory":
        return self


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("loopwright")
    with tempfile.TemporaryFile() as file:  # where there is no other way, on disk
        return os.dup(file.fileno())


class Mutex:
    """One at a time, of all threads of all processes that share a file descriptor.

    A lock of ``multiprocessing`` is a semaphore: who is killed while holding it leaves it closed for ever. Record locks
    are the system's, which opens them when a process ends. Threads of one process are kept apart by a lock of Python's,
    which a forked child gets anew: the thread that held it is not in the child.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._renew()
        _register(self)

    def _renew(self) -> None:
        self._threads = threading.Lock()

    def __enter__(self) -> None:
        self._threads.acquire()
        try:
            self._lock_record()
        except BaseException:
            self._threads.release()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def _lock_record(self) -> None:
        while True:
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
                return
            except OSError as error:
                # Threads of two processes, each waiting for another mutex, look like a deadlock and are none.
                if error.errno != errno.EDEADLK:
                    raise
                time.sleep(0.001)

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a Mutex is made anew by who is given its memory")


_mutexes: "weakref.WeakSet[Mutex] | None" = None


def _register(mutex: Mutex) -> None:
    global _mutexes
    if _mutexes is None:
        _mutexes = weakref.WeakSet()
        os.register_at_fork(after_in_child=_renew_all)
    _mutexes.add(mutex)


def _renew_all() -> None:
    for mutex in _mutexes or ():
        mutex._renew()
