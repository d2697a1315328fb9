"""``Archive``: a tar archive read from front to end, plain or gzip, from a file or a pipe. Knows nothing about samples.

The formats: POSIX.1-1988 (ustar), POSIX.1-2001 (pax) and GNU's long names and large sizes. Nothing is written to disk.
"""

import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

BLOCK = 512
_FILES, _FOLDER, _LINKS = (b"0", b"\0", b"7"), b"5", (b"1", b"2")
_TEXT = "utf-8", "surrogateescape"  # as Python writes odd bytes in names
_LARGEST_NOTE = 1 << 20  # bytes of a long name or of pax records; a damaged size must not fill the memory
_LARGEST_UNSEEN = (
    1 << 30
)  # bytes of a member whose archive has no known length: packed, they may come out of nearly none
_AT_ONCE = 1 << 16
_OTHER_PACKINGS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}


class BrokenTar(Exception):
    """An archive that cannot be read on; the message says why, without a name."""


class Member(NamedTuple):
    """A file in an archive."""

    name: str
    offset: int  # of its content, in the unpacked archive
    size: int  # bytes
    is_link: bool = False  # then it has no content


class Archive:
    """The members of an archive in their order; folders are passed over.

    Args:
        file: a path, or a binary file or pipe, which is read from where it stands.

    Raises:
        BrokenTar: while it is read: it is cut short or damaged, or no archive.

    >>> import tarfile, tempfile
    >>> path = Path(tempfile.mkdtemp(), "a.tar")
    >>> with tarfile.open(path, "w") as tar:
    ...     info = tarfile.TarInfo("1.txt"); info.size = 2; tar.addfile(info, io.BytesIO(b"hi"))
    >>> with Archive(path) as archive:
    ...     [(member.name, archive.read()) for member in archive]
    [('1.txt', b'hi')]
    """

    def __init__(self, file: str | Path | BinaryIO) -> None:
        self._own = open(file, "rb", buffering=_buffering(file)) if isinstance(file, str | Path) else None  # noqa: SIM115
        raw: Any = self._own or (file if hasattr(file, "peek") else io.BufferedReader(_Raw(file)))  # type: ignore[arg-type] - no path
        try:
            self.packing = _packing(raw.peek(8))
        except BaseException:
            if self._own is not None:
                self._own.close()
            raise
        self._file: Any = gzip.GzipFile(fileobj=raw) if self.packing == "gzip" else raw
        self._length = (
            None if self.packing or self._own is None else _length_of(raw)
        )  # where known: skipping is seeking
        self._at = 0
        self._member: Member | None = None

    def __iter__(self) -> Iterator[Member]:
        notes: dict[str, str] = {}
        while (header := self._header()) is not None:
            kind, size = header[156:157], _number(header[124:136])
            if kind in b"xLK":
                notes |= _noted(kind, self._note(size))
                continue
            if kind == b"g":  # pax records for all members: names and sizes are never among them
                self._note(size)
                continue
            if kind == b"V":  # GNU's label of a volume
                continue
            if kind not in (*_FILES, *_LINKS, _FOLDER) or any(name.startswith("GNU.sparse") for name in notes):
                raise BrokenTar(f"{_name(header)!r} is of a kind that is not read ({kind!r}, sparse or a device)")
            name, is_file = notes.get("path") or _name(header), kind in _FILES
            if is_file and "size" in notes:
                size = _whole(notes["size"])
            notes = {}
            if kind == _FOLDER or name.endswith("/"):
                continue
            yield from self._given(Member(name, self._at, size if is_file else 0, not is_file))

    def read(self) -> bytes:
        """The content of the member that was given last, to be asked for once, before the next."""
        assert self._member is not None
        return self._bytes(self._member.size)

    def close(self) -> None:
        """Close what was opened here; a file that was given stays open."""
        if self._file is not self._own and self.packing:
            self._file.close()
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _given(self, member: Member) -> Iterator[Member]:
        end = member.offset + member.size
        if self._length is None and member.size > _LARGEST_UNSEEN:
            raise BrokenTar(
                f"{member.name!r} has {member.size:,} bytes, more than are read from packed archives and pipes"
            )
        if self._length is not None and end > self._length:
            raise BrokenTar(f"it is cut short within {member.name!r}")
        self._member = member
        yield member
        self._skip(end + -member.size % BLOCK - self._at)

    def _header(self) -> bytes | None:
        """The next header; None at the end mark."""
        block = self._some(BLOCK)
        if not block:
            raise BrokenTar("it is cut short: it has no end mark" if self._at else "it is empty")
        if len(block) < BLOCK:
            raise BrokenTar("it is cut short" if self._at > BLOCK else "it is no tar archive")
        if not any(block):
            self._check_end()
            return None
        if not _is_header(block):
            raise BrokenTar("its headers are damaged" if self._at > BLOCK else "it is no tar archive")
        return block

    def _check_end(self) -> None:
        """Behind the end mark there is nothing, else another archive was appended and would be lost without a word."""
        while block := self._some(_AT_ONCE):
            if any(block):
                raise BrokenTar("something follows its end mark: archives put one behind the other are not read")

    def _note(self, size: int) -> bytes:
        if size > _LARGEST_NOTE:
            raise BrokenTar("its headers are damaged")
        return self._bytes(size + -size % BLOCK)[:size]

    def _bytes(self, size: int) -> bytes:
        data = self._some(size)
        if len(data) < size:
            raise BrokenTar("it is cut short" + (f" within {self._member.name!r}" if self._member else ""))
        return data

    def _some(self, size: int) -> bytes:
        """So many bytes, or fewer at the end of the file."""
        try:
            data = self._file.read(size)
        except EOFError:
            raise BrokenTar("it is cut short") from None
        except (zlib.error, gzip.BadGzipFile) as error:
            raise BrokenTar(f"its packed bytes are damaged ({error})") from None
        except OSError as error:
            raise BrokenTar(error.strerror or str(error)) from None
        self._at += len(data)
        return data

    def _skip(self, size: int) -> None:
        if self._length is not None:
            self._file.seek(size, os.SEEK_CUR)
            self._at += size
            return
        while size:
            size -= len(self._bytes(min(size, _AT_ONCE)))


class _Raw(io.RawIOBase):
    """Any object with ``read``, as what can be buffered; closing this leaves it open."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _buffering(path: str | Path) -> int:
    """Between the headers of plain archives is content that is not wanted; packed ones and pipes are read whole."""
    return 4096 if str(path).endswith(".tar") else _AT_ONCE


def _packing(head: bytes) -> str:
    """What the first bytes say: "gzip", or "" for none."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    other = next((name for mark, name in _OTHER_PACKINGS.items() if head.startswith(mark)), None)
    if other is not None:
        raise BrokenTar(f"it is packed by {other}: unpack it, or pack it by gzip")
    return ""


def _length_of(file: BinaryIO) -> int | None:
    facts = os.fstat(file.fileno())
    return facts.st_size if stat.S_ISREG(facts.st_mode) else None


def _is_header(block: bytes) -> bool:
    """Whether its sum is right, counted with spaces in place of the sum itself."""
    with suppress(BrokenTar):
        return sum(block) - sum(block[148:156]) + 8 * ord(" ") == _number(block[148:156])
    return False


def _name(header: bytes) -> str:
    name, prefix = _text(header[:100]), _text(header[345:500])
    return f"{prefix}/{name}" if prefix and header[257:262] == b"ustar" and header[262:263] == b"\0" else name


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(*_TEXT)


def _number(field: bytes) -> int:
    """Octal digits, or GNU's binary number behind a byte of 128."""
    if field[0] == 128:
        return int.from_bytes(field[1:], "big")
    return _whole(field.partition(b"\0")[0].decode("latin-1").strip() or "0", 8)


def _whole(text: str, base: int = 10) -> int:
    with suppress(ValueError):
        if (number := int(text, base)) >= 0:
            return number
    raise BrokenTar("its headers are damaged")


def _noted(kind: bytes, data: bytes) -> dict[str, str]:
    """What a note says about the member behind it."""
    if kind == b"K":
        return {}  # where a link leads
    return {"path": _text(data)} if kind == b"L" else _pax_records(data)


def _pax_records(data: bytes) -> dict[str, str]:
    """Lines of "LENGTH NAME=VALUE"."""
    records, start = {}, 0
    while start < len(data):
        space = data.find(b" ", start, start + 20)
        end = start + _whole(data[start : max(space, start)].decode("latin-1"))
        name, equals, value = data[space + 1 : end].removesuffix(b"\n").partition(b"=")
        if not (equals and end <= len(data)):
            raise BrokenTar("its headers are damaged")
        records[name.decode(*_TEXT)] = value.decode(*_TEXT)
        start = end
    return records
