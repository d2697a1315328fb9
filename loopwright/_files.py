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


MOST_JSON = 16 * 2**20  # bytes of one JSON file, or of one line of JSON: as values they take some 20 times as much


def sync_folder(folder: Path) -> None:
    """Flush a folder's own entries (names, renames) to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def no_link(path: str, flags: int) -> int:
    """An ``opener=`` for files that are written: where a link stands, it is an error, and what it leads to is left alone.

    >>> import tempfile
    >>> link = Path(tempfile.mkdtemp(), "log.txt")
    >>> link.symlink_to("/dev/null")
    >>> open(link, "a", opener=no_link)
    Traceback (most recent call last):
    OSError: [Errno 40] Too many levels of symbolic links: ...
    """
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def regular(path: str, flags: int) -> int:
    """An ``opener=`` for files that are read: a pipe or a device, which may never end, is an ``OSError``."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)  # opening a pipe would wait for its writer
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", path)
    return descriptor


def read_within(path: Path, most: int) -> bytes:
    """The content of a regular file of at most so many bytes; ``OSError`` for any other."""
    with open(path, "rb", opener=regular) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return data


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and flush its content to disk."""
    with open(path, "wb", opener=no_link) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: str | bytes, *, sync: bool = True) -> None:
    """Replace a file's content so that a reader, also after a kill or a power cut, sees the old one or the new one.

    ``sync=False`` leaves the flushing to the system: still whole after a kill, perhaps the old one after a power cut.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        if sync:
            write_synced(aside, data)
        else:
            with open(aside, "wb", opener=no_link) as file:
                file.write(data)
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
    return json.dumps({k: strict_number(v) for k, v in values.items()}, indent=2, ensure_ascii=False) + "\n"


def write_json(path: Path, values: Mapping[str, Any], *, sync: bool = True) -> None:
    """Replace a JSON file atomically."""
    replace_file(path, json_text(values), sync=sync)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object; ``ValueError`` when it does not, ``OSError`` when it cannot be read."""
    values = parse_json(read_within(path, MOST_JSON).decode("utf-8"))
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


class JsonLines:
    """An append-only file of one JSON object a line. Each line reaches the system in one write, so a kill tears none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()

    def append(self, values: Mapping[str, Any]) -> None:
        try:
            line = _ENCODER.encode(dict(values))
        except ValueError:  # a number that JSON has not
            line = _ENCODER.encode(strict_number(dict(values)))
        self._file.write(line.encode() + b"\n")

    def size(self) -> int:
        """Bytes in the file now: a mark that ``cut`` can go back to."""
        return os.fstat(self._file.fileno()).st_size

    def cut(self, size: int) -> None:
        """Forget every line after the first ``size`` bytes."""
        os.ftruncate(self._file.fileno(), size)

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file; non-finite numbers come back as floats. A last line cut short is left out.

    ``ValueError`` where a line is no object, ``OSError`` where the file cannot be read.
    """
    with open(path, encoding="utf-8", opener=regular) as file:
        for number in itertools.count(1):
            line = file.readline(MOST_JSON)
            if not line.endswith("\n"):
                if len(line) == MOST_JSON:
                    raise ValueError(f"line {number} has more than {MOST_JSON:,} characters")
                return
            values = parse_json(line)
            if not isinstance(values, dict):
                raise ValueError(f"line {number} should hold a JSON object, holds a {type(values).__name__}")
            yield {k: float(v) if v in ("nan", "inf", "-inf") else v for k, v in values.items()}
