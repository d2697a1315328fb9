"""``LogReader``: the text of a log that may grow, be cut or be replaced meanwhile, harmless for a terminal."""

import os
import re
from pathlib import Path

from ._files import open_unlinked

_BLOCK = 65536  # bytes that are read at once
_LONGEST = 2**20  # bytes of a line that has no end yet
# what steers a terminal: colours, cursor, titles, character sets. Progress bars of others leave it in logs
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]")
ANEW = "-- the log begins anew --\n"


class LogReader:
    """Reads a log from its beginning, or its last lines, and then what is added.

    Args:
        lines: how many of the last lines to begin with. Default: all.
    """

    def __init__(self, path: Path, lines: int | None = None) -> None:
        self._path, self._lines = path, lines
        self._file: int | None = None
        self._at = 0
        self._begun = b""  # a line without its end

    def read(self) -> str:
        """The next whole lines, as many as there are at once; empty where there is nothing new.

        Raises:
            OSError: it is a link, or cannot be read.
        """
        if self._file is None:
            self._open()
        while self._file is not None:
            data = os.pread(self._file, _BLOCK, self._at)
            if not data:
                return self._again()
            self._at += len(data)
            whole, end, rest = (self._begun + data).rpartition(b"\n")
            if len(rest) > _LONGEST:
                whole, end, rest = whole + end + rest, b"\n", b""
            self._begun = rest
            if end:
                return "".join(f"{plain_line(line)}\n" for line in whole.split(b"\n"))
        return ""

    def rest(self) -> str:
        """At the end: a last line that has no end."""
        rest, self._begun = self._begun, b""
        return f"{plain_line(rest)}\n" if rest else ""

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        try:
            self._file = open_unlinked(self._path)
        except FileNotFoundError:
            return
        self._at = 0 if self._lines is None else start_of_last(self._file, self._lines)
        self._lines = None  # of another file of this name all

    def _again(self) -> str:
        """At the end of what is there: whether it was cut, or is another file now."""
        assert self._file is not None
        status = os.fstat(self._file)
        if status.st_size < self._at:
            self._at, self._begun = 0, b""
            return ANEW
        try:
            is_same = os.path.samestat(status, os.stat(self._path))
        except FileNotFoundError:
            return ""
        if is_same:
            return ""
        rest = self.rest()
        self.close()
        return rest + ANEW


def start_of_last(file: int, lines: int) -> int:
    """Where the last lines of an open file begin, read from its end.

    >>> import tempfile
    >>> with tempfile.TemporaryFile() as file:
    ...     _ = file.write(b"one\\ntwo\\nthr"), file.flush()
    ...     start_of_last(file.fileno(), 2)
    4
    """
    end = size = os.fstat(file).st_size
    if lines <= 0:
        return size
    missing = lines + (os.pread(file, 1, size - 1) == b"\n" if size else 0)  # the newest newline ends a line
    while end:
        begin = max(0, end - _BLOCK)
        block = os.pread(file, end - begin, begin)
        count = block.count(b"\n")
        if count >= missing:
            place = len(block)
            for _ in range(missing):
                place = block.rindex(b"\n", 0, place)
            return begin + place + 1
        missing, end = missing - count, begin
    return 0


def plain_line(line: bytes) -> str:
    """One line for a terminal: what would steer it is left out, or shown as an escape.

    Of a bar that was drawn over and over, the last state is shown.

    >>> plain_line(b"\\x1b[31mred\\x1b[0m"), plain_line(b"10%\\r90%\\r"), plain_line(b"a\\x07b")
    ('red', '90%', 'a\\\\x07b')
    """
    text = line.decode("utf-8", "replace").rstrip("\r")
    if text.isprintable():
        return text
    text = _CONTROL.sub("", text.rpartition("\r")[2])
    return "".join(
        letter if letter.isprintable() or letter == "\t" else letter.encode("unicode_escape").decode()
        for letter in text
    )
