"""``Shelf``: items of bytes in a folder, within a limit, for several runs at once. Knows nothing about what they mean.

    cache.json    what it is a cache of
    in-use        locked together by all who use it
    space         locked by who takes or gives back space; holds how much is taken
    00000/7.item  an item: header (checksums, size, stamp of its source), then its bytes

An item is written aside and renamed: it is complete or absent. It is checked when a run reads it for the first time: its
bytes against the checksum, its stamp against the source.
"""

import contextlib
import errno
import fcntl
import os
import struct
import threading
import uuid
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._errors import DataError
from .._files import read_json, write_json
from ._arena import Parts
from ._shared import SharedMemory

FORMAT = 1
_FOLDER = 1000  # items in one
_BLOCK = 4096  # a file takes whole ones
_HEADER = struct.Struct("<4sIQQqqI")  # magic, checksum of the content, its size, key, stamp; checksum of these
_MAGIC = b"lwc\x01"
_SIZE = 64  # of the header, filled up
_CHECKED, _REFUSED = 1, 2  # what is known of an item
_DAMAGE_SAID, _WRITING_SAID = 0, 1
_LARGEST_ROOM = 64 * 2**20  # bytes
_own = threading.local()


class Stamp(NamedTuple):
    """What changes when a source does: its size and its time in nanoseconds; 0 and 0 where there is no file."""

    size: int
    time_ns: int


class Shelf:
    """At most ``limit`` bytes of files in ``folder`` for items with the keys 0 to ``count`` - 1.

    Args:
        stamp: of the source of a key, now; ``OSError`` where it is gone.
        identity: of what it is a cache of, and in words.

    Raises:
        DataError: the folder holds something else, or cannot be written.
    """

    def __init__(
        self, folder: Path, count: int, limit: int, stamp: Callable[[int], Stamp], identity: str, words: str
    ) -> None:
        self.folder, self._limit, self._stamp = folder, limit, stamp
        self._begin = f"{folder}/"
        self._flags = SharedMemory(2 + count)  # said, said; checked, for each key
        try:
            _claim_folder(folder, identity, words)
            self._in_use = _InUse(folder, self._sweep)
        except OSError as error:
            raise DataError(f"{folder} cannot hold a cache: {error.strerror}; give another folder") from error

    def get(self, key: int, most: int | None = None) -> memoryview | None:
        """An item, or its first ``most`` bytes; or None. Its memory is this thread's, for its next item too."""
        first = self._flags.bytes[2 + key] != _CHECKED
        try:
            data, size = _read(self._path(key), None if first or most is None else _SIZE + most, self._limit)
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._say_damaged(key, error.strerror or str(error))
        damage, stamp = _damage(data, size, key, first)
        if damage:
            return self._say_damaged(key, damage)
        if first:
            if stamp != self.mark(key):
                return None
            self._flags.bytes[2 + key] = _CHECKED
        return data[_SIZE:][:most]

    def mark(self, key: int) -> Stamp | None:
        """The stamp of an item's source, to be taken before the source is read; None where it is gone."""
        try:
            return self._stamp(key)
        except OSError:
            return None

    def put(self, key: int, parts: Parts, mark: Stamp | None) -> bool:
        """Add an item, or replace it; whether it is there now. ``mark`` is of before its source was read."""
        if mark is None:
            return False
        size = _blocks(_SIZE + sum(map(len, parts)))
        try:
            with self._space() as space:
                if space.taken + size > self._limit:
                    self._flags.bytes[2 + key] = _REFUSED
                    return False
                space.taken += size
            self._write(Path(self._path(key)), _header(key, parts, mark), parts, size)
        except OSError as error:
            self._say(
                _WRITING_SAID, f"{self.folder}: cannot be written ({error.strerror}); what is missing is read anew"
            )
            return False
        return True

    def used(self) -> int:
        """Bytes taken."""
        with self._space() as space:
            return space.taken

    def held(self) -> np.ndarray:
        """The keys that are there, whether or not their sources have changed: int64, ascending."""
        return np.array(sorted(int(path.stem) for path in self._items()), np.int64)

    def refused(self) -> int:
        """How many items did not fit, in this run."""
        return int((np.frombuffer(self._flags.bytes, np.uint8)[2:] == _REFUSED).sum())

    def _path(self, key: int) -> str:
        return f"{self._begin}{key // _FOLDER:05d}/{key}.item"  # many times faster than pathlib's

    def _items(self) -> Iterator[Path]:
        return (
            path
            for path in self._files("*.item")
            if path.stem.isdecimal() and int(path.stem) < len(self._flags.bytes) - 2
        )

    def _files(self, pattern: str) -> Iterator[Path]:
        """Files of the cache, where they should be: what a link leads to is somebody else's."""
        return (path for path in self.folder.glob(f"[0-9]*/{pattern}") if not path.is_symlink())

    def _write(self, path: Path, header: bytes, parts: Parts, size: int) -> None:
        aside = path.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            path.parent.mkdir(exist_ok=True)
            with open(aside, "xb") as file:
                for part in (header, *parts):
                    file.write(part)
            with self._space() as space:
                before = _blocks(path.stat().st_size) if path.exists() else 0
                os.replace(aside, path)
                space.taken -= before
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
                with self._space() as space:
                    space.taken -= size
            raise

    @contextlib.contextmanager
    def _space(self) -> Iterator["_Space"]:
        """The account of space, for one at a time of all threads of all processes."""
        descriptor = os.open(self.folder / "space", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            space = _Space(int.from_bytes(os.pread(descriptor, 8, 0), "little"))
            before = space.taken
            try:
                yield space
            finally:
                if space.taken != before:
                    os.pwrite(descriptor, max(0, space.taken).to_bytes(8, "little"), 0)
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process forked meanwhile holds the descriptor, too
            os.close(descriptor)

    def _sweep(self) -> None:
        """Remove what killed writers left, and count anew. Nobody else uses the folder now."""
        for path in self._files(".*.tmp"):
            path.unlink(missing_ok=True)
        with self._space() as space:
            space.taken = sum(_blocks(path.stat().st_size) for path in self._items())

    def _say_damaged(self, key: int, damage: str) -> None:
        self._say(_DAMAGE_SAID, f"{self._path(key)}: {damage}; it is read anew from its source, as are others like it")

    def _say(self, what: int, message: str) -> None:
        """Warn, once in all processes of this run."""
        if not self._flags.bytes[what]:
            self._flags.bytes[what] = 1
            warnings.warn(message, RuntimeWarning, stacklevel=2)


class _Space:
    def __init__(self, taken: int) -> None:
        self.taken = taken


class _InUse:
    """A lock on a folder shared by all who use it; whoever finds himself alone may tidy up first."""

    def __init__(self, folder: Path, tidy: Callable[[], None]) -> None:
        self._path = folder / "in-use"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            tidy()
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)  # the lock goes with the last process that holds it

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self._path.parent}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"], lambda: None)


def _claim_folder(folder: Path, identity: str, words: str) -> None:
    """Make the folder, or see that it is a cache of the same."""
    folder.mkdir(parents=True, exist_ok=True)
    link = next((path for path in folder.iterdir() if path.is_symlink()), None)
    if link is not None:  # a stranger's folder may lead anywhere
        raise DataError(f"{link} is a link: a cache writes into its own folder only. Remove it, or give another folder")
    note = folder / "cache.json"
    if not note.exists():
        if any(not path.name.startswith(".cache.json") for path in folder.iterdir()):
            raise DataError(f"{folder} is not empty and no cache: give a folder of its own")
        write_json(note, {"format": FORMAT, "identity": identity, "dataset": words})
    try:
        found = read_json(note)
    except (ValueError, OSError) as error:
        raise DataError(f"{note} is damaged ({error}): remove the folder, which only holds copies") from error
    if (found.get("format"), found.get("identity")) != (FORMAT, identity):
        raise DataError(
            f"{folder} is the cache of another dataset: {found.get('dataset')}. Now it is {words}. Give another folder, or "
            "remove this one, which only holds copies"
        )


def _read(path: str, most: int | None, limit: int) -> tuple[memoryview, int]:
    """A file's bytes, or its first ``most``, and the size of all of it; ``OSError`` for more than ``limit``, or no file.

    Memory of this thread's own: taken anew for each file, half of the time would go to page faults.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # no link, no waiting for a pipe
    try:
        size = os.fstat(descriptor).st_size
        if size > limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        wanted = size if most is None else min(most, size)
        room, done = _room(wanted).data[:wanted], 0
        while done < wanted and (count := os.preadv(descriptor, [room[done:]], done)):
            done += count
    finally:
        os.close(descriptor)
    return room[:done], size


def _room(size: int) -> np.ndarray:
    if size > _LARGEST_ROOM:
        return np.empty(size, np.uint8)
    room = getattr(_own, "room", None)
    if room is None or room.size < size:
        room = _own.room = np.empty(size, np.uint8)
    return room


def _header(key: int, parts: Parts, stamp: Stamp) -> bytes:
    checksum = size = 0
    for part in parts:
        checksum, size = zlib.crc32(part, checksum), size + len(part)
    facts = _HEADER.pack(_MAGIC, checksum, size, key, *stamp, 0)
    return _HEADER.pack(_MAGIC, checksum, size, key, *stamp, zlib.crc32(facts)).ljust(_SIZE, b"\0")


def _damage(data: memoryview, length: int, key: int, content_too: bool) -> tuple[str, Stamp]:
    """What is wrong with a file of so many bytes, of which these are the first; empty if nothing. And its stamp."""
    if len(data) < _SIZE:
        return "cut short", Stamp(0, 0)
    magic, checksum, size, found, stamp_size, stamp_time, own = _HEADER.unpack_from(data)
    stamp = Stamp(stamp_size, stamp_time)
    if magic != _MAGIC or own != zlib.crc32(_HEADER.pack(magic, checksum, size, found, *stamp, 0)) or found != key:
        return "damaged", stamp
    if size != length - _SIZE:
        return "cut short", stamp
    return ("damaged" if content_too and zlib.crc32(data[_SIZE:]) != checksum else ""), stamp


def _blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
