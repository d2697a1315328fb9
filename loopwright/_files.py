"""Files that are whole or absent: atomic replacement, flushing to disk, JSON and JSON lines. Knows nothing of runs.

They may come from strangers: what is read is a regular file of bounded size, and nothing is written through a link.
"""

import contextlib
import errno
import itertools
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

_ANEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
MOST_JSON = 16 * 2**20  # bytes of one JSON file, or of one line of JSON: as values they take some 20 times as much


def sync_folder(folder: Path) -> None:
    """Flush a folder's own entries (names, renames) to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_unlinked(path: Path | str, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a file in a folder that may be a stranger's, where a link may lead anywhere: it is an ``OSError``.

    >>> import tempfile
    >>> link = Path(tempfile.mkdtemp(), "log.txt")
    >>> link.symlink_to("/dev/null")
    >>> open_unlinked(link, os.O_WRONLY)
    Traceback (most recent call last):
    OSError: [Errno 40] it is a link; put the file itself there: ...
    """
    if os.path.islink(path):
        raise OSError(errno.ELOOP, "it is a link; put the file itself there", str(path))
    return open_regular(path, flags | os.O_NOFOLLOW)


def open_regular(path: Path | str, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file: a pipe or a device, which may never end, is an ``OSError``."""
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o666)  # opening a pipe would wait for its other end
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        number, why = (
            (errno.EISDIR, "it is a folder") if stat.S_ISDIR(mode) else (errno.EINVAL, "it is no regular file")
        )
        raise OSError(number, why, str(path))
    return descriptor


def read_within(descriptor: int, most: int) -> bytes:
    """All that is in an open file, which is closed; ``OSError`` where it has more than so many bytes."""
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
    return data


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, and flush their names to disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing or [folder]:  # one that is there may be of a process that was killed before the flush
        with contextlib.suppress(PermissionError):  # a folder above that may be passed through and not read
            sync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and flush its content to disk."""
    with os.fdopen(open_unlinked(path, _ANEW), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: str | bytes, *, sync: bool = True) -> None:
    """Replace a file's content so that a reader, also after a kill or a power cut, sees the old one or the new one.

    ``sync=False`` flushes the content alone: whole all the same, but after a power cut it may be the old one.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        write_synced(aside, data)  # a name may reach the disk before the bytes: it would be a file of nothing
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def strict_number(value: Any) -> Any:
    """JSON has no NaN and no infinity: they are written as the strings ``"nan"``, ``"inf"`` and ``"-inf"``."""
    if isinstance(value, dict):
        return {key: strict_number(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [strict_number(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def json_text(values: Mapping[str, Any]) -> str:
    """Indented strict JSON for the files that people read."""
    text = json.dumps({k: strict_number(v) for k, v in values.items()}, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()  # half a pair of surrogates: as JSON escapes it


def write_json(path: Path, values: Mapping[str, Any], *, sync: bool = True) -> None:
    """Replace a JSON file atomically."""
    replace_file(path, json_text(values), sync=sync)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object; ``ValueError`` when it does not, ``OSError`` when it cannot be read."""
    values = parse_json(read_within(open_unlinked(path), MOST_JSON).decode("utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold a JSON object, holds a {type(values).__name__}")
    return values


def parse_json(text: str) -> Any:
    """The value of a JSON text; ``ValueError`` also where it is nested too deeply.

    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ValueError: the values are nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("the values are nested too deeply") from None


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def json_line(values: Mapping[str, Any]) -> bytes:
    """One line of strict JSON."""
    try:
        line = _ENCODER.encode(dict(values))
    except ValueError:  # a number that JSON has not
        line = _ENCODER.encode(strict_number(dict(values)))
    return line.encode("utf-8", "backslashreplace") + b"\n"  # half a pair of surrogates: as JSON escapes it


class JsonLines:
    """An append-only file of one JSON object a line. Each line reaches the system in one write, so a kill tears none.

    Lines that a full disk does not take wait in memory for the next one, and ``settle`` says what is wrong. Part of a
    line at the end of a file that is there already, which a power cut may leave, is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[bytes] = []
        self._is_named = False  # on disk, in its folder
        self._file: BinaryIO = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
        whole = _whole_lines(path)
        if whole < self.size():
            self.cut(whole)

    def append(self, values: Mapping[str, Any]) -> None:
        self._waiting.append(json_line(values))
        with contextlib.suppress(OSError):
            self._write_waiting()

    def _write_waiting(self) -> None:
        data = b"".join(self._waiting)
        written = self._file.write(data) or 0
        if written == len(data):
            self._waiting.clear()
            return
        os.ftruncate(self._file.fileno(), self.size() - written)  # a part of a line is none
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def size(self) -> int:
        """Bytes in the file now: a mark that ``cut`` can go back to."""
        return os.fstat(self._file.fileno()).st_size

    def cut(self, size: int) -> None:
        """Forget every line after the first ``size`` bytes."""
        self._waiting.clear()
        os.ftruncate(self._file.fileno(), size)

    def settle(self) -> None:
        """All lines are in the file, or ``OSError``."""
        if self._waiting:
            self._write_waiting()

    def sync(self) -> None:
        """What is in the file is on disk, or ``OSError``."""
        os.fsync(self._file.fileno())
        if not self._is_named:
            sync_folder(self.path.parent)
            self._is_named = True

    def close(self) -> None:
        self._file.close()


def _whole_lines(path: Path) -> int:
    """How many bytes of a file are whole lines."""
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            begin = max(end - 65536, 0)
            file.seek(begin)
            found = file.read(end - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
    return 0


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file; non-finite numbers come back as floats.

    A last line cut short is left out, and so are lines of which a power cut left only the length, as zeros.

    ``ValueError`` where a line is no object, ``OSError`` where the file cannot be read.
    """
    with os.fdopen(open_unlinked(path), encoding="utf-8") as file:
        for number in itertools.count(1):
            line = file.readline(MOST_JSON)
            if not line.endswith("\n"):
                if len(line) == MOST_JSON:
                    raise ValueError(f"line {number} has more than {MOST_JSON:,} characters")
                return
            if "\0" in line:  # of which a power cut left only the length
                continue
            values = parse_json(line)
            if not isinstance(values, dict):
                raise ValueError(f"line {number} should hold a JSON object, holds a {type(values).__name__}")
            yield {k: float(v) if v in ("nan", "inf", "-inf") else v for k, v in values.items()}
