"""TensorBoard's event files: what one record of them is, byte by byte. Opens no files and needs no packages.

A file is a row of records: length, checksum of the length, content, checksum of the content. The content is a protocol
buffer, ``Event`` (tensorflow/core/util/event.proto, summary.proto): small enough to be written by hand, which takes a
tenth of the time, and no half a gigabyte of packages.
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence

_START = 1  # SessionLog.START: whoever reads forgets what it has from this step on
_TEXT = 7  # DataType.DT_STRING
_RGB, _GREY, _RGBA = 3, 1, 4
COLORS = {"L": _GREY, "RGB": _RGB, "RGBA": _RGBA}  # Pillow's modes; others are shown as RGB


def record(content: bytes) -> bytes:
    """One record of a file."""
    length = struct.pack("<Q", len(content))
    return b"".join((length, struct.pack("<I", _masked(length)), content, struct.pack("<I", _masked(content))))


def first_event(time: float) -> bytes:
    """What every file begins with."""
    return event(time, 0, _field(3, b"brain.Event:2"))


def start_event(time: float, step: int) -> bytes:
    """From here on, values of this step and later ones stand in the place of what was read before."""
    return event(time, step, _field(7, _number(1, _START)))


def summary_event(time: float, step: int, values: Iterable[bytes]) -> bytes:
    """Some values of one step."""
    return event(time, step, _field(5, b"".join(_field(1, value) for value in values)))


def scalar(name: str, value: float) -> bytes:
    return _field(1, name.encode("utf-8", "replace")) + b"\x15" + struct.pack("<f", _as_float32(value))


def image(name: str, data: bytes, width: int, height: int, colors: int) -> bytes:
    """A picture as it is in its file, PNG or JPEG."""
    content = _number(1, height) + _number(2, width) + _number(3, colors) + _field(4, data)
    return _field(1, name.encode("utf-8", "replace")) + _field(4, content)


def text(name: str, content: str) -> bytes:
    """Markdown, for the tab of texts."""
    shape = _field(2, _number(1, 1))
    tensor = _number(1, _TEXT) + _field(2, shape) + _field(8, content.encode("utf-8", "replace"))
    metadata = _field(1, _field(1, b"text"))
    return _field(1, name.encode("utf-8", "replace")) + _field(9, metadata) + _field(8, tensor)


def histogram(name: str, low: float, high: float, counts: Sequence[int], mean: float, std: float) -> bytes:
    """Bins of the same width from low to high."""
    total, width = sum(counts), (high - low) / len(counts)
    limits = [low + width * (place + 1) for place in range(len(counts))]
    square = total * (std * std + mean * mean)
    content = b"".join((
        _double(1, low), _double(2, high), _double(3, float(total)), _double(4, mean * total), _double(5, square),
        _doubles(6, limits), _doubles(7, [float(count) for count in counts]),
    ))  # fmt: skip
    return _field(1, name.encode("utf-8", "replace")) + _field(5, content)


def event(time: float, step: int, what: bytes) -> bytes:
    return record(_double(1, time) + _number(2, step) + what)


def markdown_table(values: Mapping[str, str]) -> str:
    """Two columns; what would end a cell is escaped."""
    rows = (f"| {_cell(name)} | {_cell(value)} |" for name, value in values.items())
    return "\n".join(("| | |", "|---|---|", *rows))


def _cell(value: str) -> str:
    return value.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


# ---- protocol buffers -----------------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(tag: int, value: int) -> bytes:
    return _varint(tag << 3) + _varint(value)


def _field(tag: int, content: bytes) -> bytes:
    return _varint(tag << 3 | 2) + _varint(len(content)) + content


def _double(tag: int, value: float) -> bytes:
    return _varint(tag << 3 | 1) + struct.pack("<d", value)


def _doubles(tag: int, values: Sequence[float]) -> bytes:
    return _field(tag, struct.pack(f"<{len(values)}d", *values))


def _as_float32(value: float) -> float:
    """Numbers that float32 has not become infinite."""
    return math.copysign(math.inf, value) if math.isfinite(value) and abs(value) > 3.4028235e38 else value


# ---- CRC-32C (Castagnoli), RFC 3720; the record format masks it -------------------------------------------------------


def _table() -> tuple[int, ...]:
    entries = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        entries.append(value)
    return tuple(entries)


_CRC = _table()


def _masked(data: bytes) -> int:
    crc, table = 0xFFFFFFFF, _CRC
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
