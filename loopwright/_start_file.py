"""``StartFile``: what a training prints that is started in the background, until its run is open and has a log.

It is start.txt in the run's folder, and the standard output of the process that is started. Its lock is the open
file's, which the process inherits: while it is held, the training is starting, however its parent fares.
"""

import contextlib
import fcntl
import os
import sys
import time
from pathlib import Path

from ._errors import RunError
from ._files import make_folder, open_unlinked
from ._record import LOG, START

_PATIENCE = 1.0  # seconds: who only asks holds the lock for a moment


class StartFile:
    """Made, emptied and locked; to be given to a process as its output.

    Raises:
        RunError: another start into this folder is going on, or the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / START
        self._made = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            make_folder(folder)
            self._file = open_unlinked(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        except OSError as error:
            raise RunError(
                f"cannot write into the run folder {folder}: {error.strerror}. Give it write permission, "
                "or put the run elsewhere"
            ) from None
        if not _lock(self._file):
            os.close(self._file)
            raise RunError(f"{folder} is being started by another process: see 'loopwright logs {folder} -f'")
        os.ftruncate(self._file, 0)

    def fileno(self) -> int:
        return self._file

    def text(self) -> str:
        """What was printed before the run had a log."""
        return _whole(self._file).decode("utf-8", "replace")

    def is_adopted(self) -> bool:
        """Whether a run has opened, and what was printed is in its log."""
        return not _is(self._file, self.path)

    def close(self) -> None:
        os.close(self._file)

    def remove(self) -> None:
        """Where all that it says was told, and nothing came of it: neither the file stays nor folders made for it."""
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something is in it
            for folder in self._made:
                folder.rmdir()


def is_starting(folder: Path) -> bool:
    """Whether a process that shall train here has begun, and its run is not open yet."""
    try:
        file = open_unlinked(folder / START)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a disk without locks
        return False
    finally:
        os.close(file)
    return False


def adopt_output(folder: Path) -> None:
    """For a run that has opened: if this process prints into start.txt, what is there goes into the log, and all the rest.

    Otherwise the file is one of a start that failed, and is removed.
    """
    start = folder / START
    if not start.exists():
        return
    ours = [number for number in (1, 2) if _is(number, start)]
    if ours:
        _move(start, folder / LOG, ours)
    start.unlink(missing_ok=True)


def _move(start: Path, log_path: Path, numbers: list[int]) -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    log = open_unlinked(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    file = open_unlinked(start)
    with contextlib.suppress(OSError):  # a full disk is no reason not to train
        os.write(log, _whole(file))
    for number in numbers:
        os.dup2(log, number)
    os.close(log)
    os.close(file)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, write_through=False)  # type: ignore[union-attr]


def _is(number: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(number), os.stat(path))
    except OSError:
        return False


def _whole(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)


def _lock(file: int) -> bool:
    given_up = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > given_up:
                return False
            time.sleep(0.02)
        except OSError:  # a disk without locks: the run's own lock keeps a second one out
            return True
        else:
            return True
