"""The newest lines of a JSON-lines file, read from its end: of a long file no more than is needed. Knows no runs."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ._files import open_unlinked, parse_json

MOST = 2**20  # bytes that are looked through
_FIRST = 8192  # bytes that are read first; then twice as many each time


def newest_lines(path: Path) -> Iterator[bytes]:
    """Its whole lines, the last one first; nothing where it cannot be read."""
    try:
        file = open_unlinked(path)
    except OSError:
        return
    try:
        yield from _lines(file)
    finally:
        os.close(file)


def object_of(line: bytes) -> dict[str, Any] | None:
    """The object that a line holds; None where it holds none.

    >>> object_of(b'{"step": 3, "val/loss": "nan"}')
    {'step': 3, 'val/loss': nan}
    """
    try:
        values = parse_json(line.decode())
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    return {key: float(value) if value in ("nan", "inf", "-inf") else value for key, value in values.items()}


def _lines(file: int) -> Iterator[bytes]:
    end, size = (os.fstat(file).st_size,) * 2
    begun, is_whole, block = b"", False, _FIRST  # a line's end, whose beginning lies further ahead
    while end and size - end < MOST:
        begin = max(0, end - block)
        first, *rest = (os.pread(file, end - begin, begin) + begun).split(b"\n")
        for line in reversed(rest):
            if is_whole and line:
                yield line
            is_whole = True  # all but what stands behind the last newline
        begun, end, block = first, begin, 2 * block
    if is_whole and begun and not end:
        yield begun
