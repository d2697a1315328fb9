"""``FolderLock``: one process at a time holds a folder, also across machines that share a disk. Knows nothing of runs.

The file holds who has it: host, boot, process. The system's record lock on it is freed by every kind of death. Where a
disk's locks do not reach other machines, or there are none, the holder's beat does: it touches the file every few
seconds, and a lock whose holder on another machine has stopped beating is stale.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

from ._errors import RunError

BEAT_SECONDS = 10.0
MISSED_BEATS = 3  # after which a holder on another machine is gone
LOCK = ".lock"
_LARGEST = 4096  # bytes of the file that are read
# C's struct flock: an exclusive lock on the whole file, and where the answer's type is
_WHOLE_FILE, _TYPE_AT = (
    (struct.pack("qqihh", 0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET), 20)
    if sys.platform == "darwin"
    else (struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0), 0)
)
_HELD: set[tuple[int, str]] = set()  # (process, folder): a POSIX lock does not keep out its own process


class FolderLock:
    """Holds a folder until ``release``.

    Raises:
        RunError: another process, here or on another machine, holds it. One that may be dead on another machine is
            watched first, for as long as it may take to beat again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._key = folder, (os.getpid(), str(folder.resolve()))
        if self._key in _HELD:
            raise RunError(
                f"{folder} is already open in this process: close that run first, or give this one another folder"
            )
        self._file = open(folder / LOCK, "a+b")  # noqa: SIM115 - held until it is released
        try:
            self._take()
        except BaseException:
            self._file.close()
            raise
        _HELD.add(self._key)
        self._end = threading.Event()
        self._beating = threading.Thread(target=_beat, args=(folder / LOCK, self._end), daemon=True)
        self._beating.start()

    def release(self) -> None:
        """Give the folder back; the file stays, empty."""
        self._end.set()
        self._beating.join()
        with contextlib.suppress(OSError):
            os.ftruncate(self._file.fileno(), 0)
        self._file.close()
        _HELD.discard(self._key)

    def _take(self) -> None:
        locked = _lock(self._file)
        owner = _owner(self._file)
        if locked is False or (owner is not None and _is_alive(self._folder, owner, locked)):
            raise RunError(
                f"{self._folder} is in use by another process ({_shown(owner)}): wait for it, stop it with 'loopwright stop "
                f"{self._folder}', or give this run another folder"
            )
        with contextlib.suppress(OSError):  # a full disk: the record lock is held all the same
            os.ftruncate(self._file.fileno(), 0)
            self._file.write(json.dumps(_myself()).encode() + b"\n")
            self._file.flush()


def holder(folder: Path) -> dict[str, Any] | None:
    """Who holds a folder (host, pid, started), or None; does not wait for the beat of another machine.

    Only asks: a process that takes the folder at this moment gets it.
    """
    if (os.getpid(), str(folder.resolve())) in _HELD:  # opening and closing the file here would free it
        return _myself()
    try:
        with open(folder / LOCK, "r+b") as file:
            free, owner = _is_free(file), _owner(file)
    except OSError:
        return None
    if free is False:
        return owner or {}
    if owner is None or owner.get("host") == socket.gethostname():
        return owner if owner and free is None and _is_process(owner) else None
    quiet = time.time() - (folder / LOCK).stat().st_mtime
    return owner if quiet < MISSED_BEATS * BEAT_SECONDS else None


def _lock(file: BinaryIO) -> bool | None:
    """Whether the record lock was taken; None on a disk that has none."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EACCES, errno.EAGAIN) else None
    return True


def _is_free(file: BinaryIO) -> bool | None:
    """Whether no other process has the record lock; None on a disk that has none."""
    try:
        answer = fcntl.fcntl(file, fcntl.F_GETLK, _WHOLE_FILE)
    except OSError:
        return None
    return struct.unpack_from("h", answer, _TYPE_AT)[0] == fcntl.F_UNLCK


def _owner(file: BinaryIO) -> dict[str, Any] | None:
    """What the file says, read without opening it again: closing it once would free the lock."""
    try:
        file.seek(0)
        owner = json.loads(file.read(_LARGEST) or b"null")
    except (OSError, ValueError, RecursionError):
        return None
    return owner if isinstance(owner, dict) else None


def _is_alive(folder: Path, owner: dict[str, Any], locked: bool | None) -> bool:
    """Whether the process that the file names goes on, where nothing else keeps us out."""
    if owner.get("host") == socket.gethostname():
        return locked is None and _is_process(owner)
    beat, given_up = (folder / LOCK).stat().st_mtime_ns, time.monotonic() + MISSED_BEATS * BEAT_SECONDS
    while time.monotonic() < given_up:  # whatever the clocks of the two machines say: does it beat?
        time.sleep(min(1.0, BEAT_SECONDS / 4))
        if (folder / LOCK).stat().st_mtime_ns != beat:
            return True
    return False


def _is_process(owner: dict[str, Any]) -> bool:
    pid = owner.get("pid")
    if owner.get("boot") != _boot() or not isinstance(pid, int) or not 0 < pid < 2**22 or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _myself() -> dict[str, Any]:
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return {"host": socket.gethostname(), "pid": os.getpid(), "boot": _boot(), "started": started}


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _shown(owner: dict[str, Any] | None) -> str:
    found = owner or {}
    return f"pid {found.get('pid', '?')} on {found.get('host', '?')}, started {found.get('started', '?')}"


def _beat(path: Path, end: threading.Event) -> None:
    while not end.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)
