"""``Tail``: whole lines that were appended to a file behind a place. Says whether what is before it is still the same."""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .._files import MOST_JSON, open_unlinked, parse_json

MOST = 2**18  # bytes that are read at once
Verdict = Literal["same", "behind", "changed"]


@dataclass(frozen=True)
class Place:
    """How much of a file was read: bytes, a checksum of them, lines."""

    offset: int = 0
    crc: int = 0
    lines: int = 0


class Tail:
    """Reads a file of JSON lines that somebody else appends to, and may have cut back while nobody looked.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "metrics.jsonl")
    >>> _ = path.write_text('{"step": 1}\\n{"st')
    >>> Tail(path).read(Place())
    ([{'step': 1}], Place(offset=12, crc=1787153683, lines=1))
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self) -> int:
        try:
            return os.stat(self.path, follow_symlinks=False).st_size
        except FileNotFoundError:
            return 0

    def compare(self, place: Place) -> Verdict:
        """What the file is to one that was read up to a place: longer or as long, cut back, or another one."""
        if self.size() < place.offset:
            return "behind"
        return "same" if self._checksum(place.offset) == place.crc else "changed"

    def read(self, place: Place, until: int | None = None, lines: int = MOST) -> tuple[list[dict[str, Any]], Place]:
        """Lines behind a place, not too many at once, and the place behind them.


        ``ValueError`` where a line is not of JSON: somebody else's.
        """
        data = self._whole_lines(place.offset, until)
        found = data.split(b"\n", lines)[:-1]
        data = data[: sum(map(len, found)) + len(found)]
        values = [_values(line) for line in found if b"\0" not in line]  # a power cut left only the length of these
        return values, Place(place.offset + len(data), zlib.crc32(data, place.crc), place.lines + len(found))

    def _whole_lines(self, offset: int, until: int | None) -> bytes:
        if self.size() <= offset:
            return b""
        with os.fdopen(open_unlinked(self.path), "rb") as file:
            file.seek(offset)
            if until is not None:
                return file.read(until - offset)
            data = file.read(MOST)
            while data and b"\n" not in data and len(data) < MOST_JSON:
                more = file.read(MOST)
                if not more:
                    return b""
                data += more
        return data[: data.rfind(b"\n") + 1]

    def _checksum(self, length: int) -> int:
        crc = 0
        if not length:
            return crc
        with os.fdopen(open_unlinked(self.path), "rb") as file:
            while length and (data := file.read(min(length, 2**20))):
                crc, length = zlib.crc32(data, crc), length - len(data)
        return crc


def _values(line: bytes) -> dict[str, Any]:
    values = parse_json(line.decode("utf-8", "replace"))
    if not isinstance(values, dict):
        raise ValueError(f"a line should hold a JSON object, holds a {type(values).__name__}")
    return {k: float(v) if v in ("nan", "inf", "-inf") else v for k, v in values.items()}
