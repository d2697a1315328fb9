"""The file format of packed data: records, arrays and facts in one file, whole or not there. Knows nothing of pictures.

    0       magic
    4096    records, each at a multiple of 64 bytes
    ...     arrays: the index of the records, and others by name
    ...     facts: JSON, which also says where the arrays are
    end     trailer: where the facts are, their checksum, magic

What is being written is ``PATH.part`` beside a journal of its finished records, so an interrupted pack goes on. Who writes
holds a lock on the journal, which the system opens when that process ends.
"""

import contextlib
import fcntl
import json
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np

from .._errors import DataError
from .._files import parse_json, sync_folder

MAGIC = b"loopwright pack 1\n"
_FIRST, _ALIGNMENT = 4096, 64
_TRAILER = struct.Struct("<QQI12s")
_KINDS = "biuf"  # of numbers, as NumPy has them
_END = b"lw pack end\n"
INDEX = np.dtype(
    [("offset", "<u8"), ("size", "<u8"), ("height", "<u4"), ("width", "<u4"), ("sum", "<u8"), ("source", "<u8")]
)


def checksum(data: np.ndarray) -> int:
    """A sum of the bytes' 64-bit words, weighted by the parity of their place: any changed word changes it.

    Ten times as fast as a CRC, so that each record can be checked when it is first read.

    >>> checksum(np.frombuffer(b"some bytes", np.uint8)) != checksum(np.frombuffer(b"some bytez", np.uint8))
    True
    """
    flat = data.reshape(-1).view(np.uint8)
    words = flat[: flat.size // 8 * 8].view("<u8")
    with np.errstate(over="ignore"):
        total = words.sum(dtype=np.uint64) + np.uint64(2) * words[::2].sum(dtype=np.uint64)
    return (int(total) + int.from_bytes(flat[words.size * 8 :].tobytes(), "little") + flat.size) % 2**64


@contextlib.contextmanager
def sole_writer(path: Path, wait: Callable[[], None] | None) -> Iterator[None]:
    """Have the place of a pack to oneself, among all threads of all processes. Who dies gives it back.

    Args:
        wait: called before waiting for another; None: not to wait.

    Raises:
        BlockingIOError: another has it, and there is no waiting.
        OSError: there can be no file.
    """
    _, journal = _beside(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _locked(journal, wait)
    while not _is_at(descriptor, journal):  # who had it is done, and removed it
        os.close(descriptor)
        descriptor = _locked(journal, wait)
    try:
        yield
    finally:
        if _is_at(descriptor, journal) and not os.fstat(descriptor).st_size:
            journal.unlink()  # nothing was written
        os.close(descriptor)


def _locked(path: Path, wait: Callable[[], None] | None) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if wait is None:
            os.close(descriptor)
            raise
        wait()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a disk that has no locks
        pass
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


class PackWriter:
    """Writes a pack; as a context manager, which leaves what was written for the next attempt where it is not finished.
    For a ``sole_writer``.

    Args:
        facts: what the pack is made of. An interrupted pack of the very same facts goes on, of others it begins anew.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path = path
        self._part, self._journal_path = _beside(path)
        head = json.dumps(facts, sort_keys=True).encode() + b"\n"
        self.index = self._records_of(head)  #: finished records, of this attempt and of interrupted ones
        self._file, self._journal = self._opened(head)

    def __len__(self) -> int:
        return len(self.index)

    def add(self, source: int, data: np.ndarray, height: int, width: int) -> None:
        """Append a record, flat uint8: what was made of the picture number ``source``."""
        offset = -(-self._file.tell() // _ALIGNMENT) * _ALIGNMENT
        self._file.seek(offset)
        self._file.write(data.data)
        self.index.append((offset, data.size, height, width, checksum(data), source))
        self._journal.write(np.array(self.index[-1:], INDEX).tobytes())

    def flush(self) -> None:
        """What was added until here survives a kill."""
        self._file.flush()
        self._journal.flush()

    def finish(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        """Write everything but the records, and give the file its name."""
        places = {}
        for name, array in {"index": np.array(self.index, INDEX), **arrays}.items():
            offset = -(-self._file.tell() // _ALIGNMENT) * _ALIGNMENT
            self._file.seek(offset)
            self._file.write(np.ascontiguousarray(array).tobytes())
            places[name] = {
                "offset": offset,
                "dtype": array.dtype.descr if array.dtype.names else array.dtype.str,
                "shape": array.shape,
                "crc32": zlib.crc32(np.ascontiguousarray(array).tobytes()),
            }
        text = json.dumps({**facts, "arrays": places}).encode()
        self._file.write(_TRAILER.pack(0, 0, 0, b"\0" * 12))  # room, so that the facts never look like a trailer
        start = self._file.tell()
        self._file.write(text)
        self._file.write(_TRAILER.pack(start, len(text), zlib.crc32(text), _END))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._close()
        os.replace(self._part, self.path)
        sync_folder(self.path.parent)
        self._journal_path.unlink()

    def __enter__(self) -> "PackWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._file.closed:
            with contextlib.suppress(OSError):  # a full disk, which is the error then
                self.flush()
            self._close()

    def _records_of(self, head: bytes) -> list[tuple[int, ...]]:
        """The records that an interrupted attempt at the same pack left behind whole."""
        try:
            journal, size = self._journal_path.read_bytes(), self._part.stat().st_size
        except OSError:
            return []
        if not journal.startswith(head):
            return []
        entries = np.frombuffer(journal, INDEX, (len(journal) - len(head)) // INDEX.itemsize, len(head))
        whole = entries[_lie_within(entries, size)].tolist()
        with open(self._part, "rb") as file:
            while whole and not _is_whole(file, whole[-1]):
                whole.pop()
        return whole

    def _opened(self, head: bytes) -> tuple[IO[bytes], IO[bytes]]:
        """Both files, cut back to what is whole."""
        end = self.index[-1][0] + self.index[-1][1] if self.index else 0
        file = open(self._part, "r+b" if self.index else "w+b")  # noqa: SIM115 - closed by _close
        if not self.index:
            file.write(MAGIC)
        file.truncate(end or len(MAGIC))
        file.seek(end or _FIRST)
        journal = open(self._journal_path, "r+b" if self.index else "w+b")  # noqa: SIM115 - closed by _close
        journal.write(head)
        journal.truncate(len(head) + len(self.index) * INDEX.itemsize)
        journal.seek(0, os.SEEK_END)
        return file, journal

    def _close(self) -> None:
        for file in (self._file, self._journal):
            with contextlib.suppress(OSError):  # what is left in a buffer, where the disk is full
                file.close()


def tidy(path: Path) -> None:
    """Remove what a pack that was finished left behind, killed in its last instant; nothing that is being written."""
    if any(left.exists() for left in _beside(path)):
        with contextlib.suppress(OSError), sole_writer(path, None):
            for left in _beside(path):
                left.unlink(missing_ok=True)


def _beside(path: Path) -> tuple[Path, Path]:
    """The unfinished file and its journal."""
    return path.with_name(path.name + ".part"), path.with_name(path.name + ".part.journal")


def _is_whole(file: IO[bytes], entry: tuple[int, ...]) -> bool:
    offset, size, _, _, total, _ = entry
    file.seek(offset)
    return checksum(np.frombuffer(file.read(size), np.uint8)) == total


class _Place(NamedTuple):
    """Where an array lies, and what it is."""

    start: int
    dtype: np.dtype
    shape: tuple[int, ...]
    crc32: int


def _place(facts: Mapping[str, Any], length: int) -> _Place:
    """As a pack of so many bytes says it; ``ValueError`` where that cannot be."""
    fields = facts["dtype"]
    dtype = np.dtype([(str(name), str(kind)) for name, kind in fields] if isinstance(fields, list) else str(fields))
    start, shape = facts["offset"], tuple(facts["shape"])
    if not all(type(number) is int and number >= 0 for number in (start, *shape)):
        raise ValueError("places and shapes are whole numbers")
    parts = [dtype[name] for name in dtype.names] if dtype.names else [dtype]
    if any(part.kind not in _KINDS or part.shape for part in parts) or not dtype.itemsize:
        raise ValueError(f"no array of numbers: {dtype}")
    if start + dtype.itemsize * math.prod(shape) > length:
        raise ValueError("an array leads out of the file")
    return _Place(start, dtype, shape, facts["crc32"])


def _lie_within(index: np.ndarray, length: int) -> np.ndarray:
    """For each record whether it lies in a file of so many bytes; their sum might begin anew at 0."""
    return (index["offset"] <= length) & (index["size"] <= length - np.minimum(index["offset"], length))


class PackReader:
    """A pack, mapped into memory: shared by all that read it, read in as it is used.

    Raises:
        DataError: the file is missing, not a pack, not finished, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not os.path.isfile(self.path):
            raise DataError(f"{path}: {'a folder' if os.path.isdir(path) else 'no such file'}{self._nearby()}")
        with self._opened() as file:
            size = os.fstat(file.fileno()).st_size
            if file.read(len(MAGIC)) != MAGIC:
                raise DataError(f"{path}: not a packed data set; 'loopwright pack' makes one")
            file.seek(max(0, size - _TRAILER.size))
            trailer = file.read(_TRAILER.size)
            start, length, crc, end = _TRAILER.unpack(trailer) if len(trailer) == _TRAILER.size else (0, 0, 0, b"")
            if end == _END and start + length <= size:
                file.seek(start)
                text = file.read(length)
            else:
                text = b""
        if not text or zlib.crc32(text) != crc:
            raise DataError(f"{path}: damaged or cut short (its end is not what was written); pack it again")
        try:
            self.facts: dict[str, Any] = parse_json(text.decode("utf-8"))
            self._places = {name: _place(facts, size) for name, facts in self.facts["arrays"].items()}
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise DataError(f"{path}: what it says of itself is damaged ({error}); pack it again") from None
        # Private pages: writable for torch, which takes no read-only arrays, and never written.
        self._bytes = np.asarray(np.memmap(self.path, np.uint8, "c"))
        index = self.array("index")
        if index.dtype != INDEX or index.ndim != 1 or not _lie_within(index, size).all():
            raise DataError(f"{path}: its index leads out of the file; pack it again")
        columns = (index[name].tolist() for name in ("offset", "size", "height", "width"))
        self.entries: list[tuple[int, int, int, int]] = list(zip(*columns, strict=True))  #: offset, size, height, width
        self._sums: list[int] = index["sum"].tolist()

    def array(self, name: str) -> np.ndarray:
        """One of the arrays, a view of the file."""
        if name not in self._places:
            raise DataError(f"{self.path}: it has no {name}; pack it again")
        start, dtype, shape, crc = self._places[name]
        data = self._bytes[start : start + dtype.itemsize * math.prod(shape)]
        if zlib.crc32(data.data) != crc:
            raise DataError(f"{self.path}: damaged (its {name} is not what was written); pack it again")
        return data.view(dtype).reshape(shape)

    def record(self, number: int) -> np.ndarray:
        """The bytes of one record, not checked: flat uint8, a view of the file."""
        offset, size, _, _ = self.entries[number]
        return self._bytes[offset : offset + size]

    def evenly(self) -> np.ndarray | None:
        """All records as one array, uint8 (records, size), not checked; None where they differ in size or distance."""
        offsets, sizes = (np.array([entry[column] for entry in self.entries], np.int64) for column in (0, 1))
        steps = np.diff(offsets)
        if not len(sizes) or (sizes != sizes[0]).any() or (steps != steps[:1]).any():
            return None
        step = steps[0].item() if len(steps) else 0
        return np.lib.stride_tricks.as_strided(self.record(0), (len(sizes), sizes[0].item()), (step, 1))

    def is_whole(self, number: int) -> bool:
        return checksum(self.record(number)) == self._sums[number]

    def _opened(self) -> IO[bytes]:
        try:
            return open(self.path, "rb")
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from None

    def _nearby(self) -> str:
        """What may have been meant."""
        if os.path.isdir(self.path):
            packs = sorted(name for name in os.listdir(self.path) if name.endswith(".pack"))
            return f", not a pack; it has packs, give one: {', '.join(packs)}" if packs else ", not a pack"
        if os.path.exists(_beside(self.path)[0]):
            return "; an unfinished pack lies there: pack again and it goes on"
        return ""
