"""JPEG bytes: their facts without decoding, and pixels at 1/1, 1/2, 1/4 or 1/8 of their size. Knows no files."""

import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

try:
    import simplejpeg
except ImportError:  # no wheel for this machine: Pillow reads everything
    simplejpeg = None

_START = b"\xff\xd8\xff"
_EXIF, _XMP = b"Exif\x00\x00", b"http://ns.adobe.com/xap/1.0/"
_ORIENTATION_TAG = 0x0112
_END, _SCAN, _RESTARTS, _BASELINE = b"\xff\xd9", 0xDA, 0xDD, 0xC0
_OTHER_FRAMES = frozenset(range(0xC1, 0xD0)) - {0xC4, 0xC8, 0xCC}  # extended, progressive, lossless, arithmetic
_MOST_LINES_A_BLOCK = 16  # colour at half height, the usual; a block has 8 or 16 lines then


class JpegFacts(NamedTuple):
    """What the header says. ``width`` and ``height`` are those in the file, before it is turned upright."""

    width: int
    height: int
    orientation: int  # EXIF's, 1 to 8


def jpeg_facts(data: bytes) -> JpegFacts | None:
    """The facts of a JPEG that the fast way reads bit for bit as Pillow does; None where Pillow has to do it.

    These are gray and ordinary colour pictures with a plain or no EXIF block; not CMYK, RGB or damaged ones.
    """
    if simplejpeg is None or not data.startswith(_START):
        return None
    try:
        height, width, kind, _ = simplejpeg.decode_jpeg_header(data, strict=True)
        orientation = _orientation(data)
    except (ValueError, struct.error, IndexError, KeyError):
        return None
    if kind not in ("YCbCr", "Gray") or orientation is None or not width or not height:
        return None
    return JpegFacts(int(width), int(height), orientation)


def decode_jpeg(
    data: bytes, facts: JpegFacts, reduction: int, room: np.ndarray | None = None, rows: int | None = None
) -> np.ndarray:
    """RGB pixels, uint8 (ceil(height / reduction), ceil(width / reduction), 3), not turned upright.

    Args:
        room: memory to decode into: uint8, flat, large enough, or it is not used.
        rows: of the result, from its top, that are wanted: it may end below them. Needs room.

    Raises:
        ValueError: damaged data.
    """
    assert simplejpeg is not None
    height, width = -(-facts.height // reduction), -(-facts.width // reduction)
    if room is not None and room.size < height * width * 3:
        room = None
    if rows is not None and room is not None and (short := _shortened(data, facts, rows * reduction, reduction)):
        return _decode_top(*short, width, reduction, room)
    # The least size is asked for exactly: given some slack, the library takes 5/8 and the like, which are slow.
    least = (height, width) if reduction > 1 else (0, 0)
    return simplejpeg.decode_jpeg(data, "RGB", False, False, *least, 1, room, True)


def _decode_top(data: bytes, lines: int, width: int, reduction: int, room: np.ndarray) -> np.ndarray:
    """Decode a file whose header was made to say that it ends early. What follows it is said to be superfluous."""
    height = -(-lines // reduction)
    room = room[: height * width * 3]
    least = (height, width) if reduction > 1 else (0, 0)
    try:
        return simplejpeg.decode_jpeg(data, "RGB", False, False, *least, 1, room, True)  # type: ignore[union-attr]
    except ValueError as error:
        # The library tells of the first thing that it stumbles over only: damage in the rows that it decoded comes before.
        if not str(error).endswith("extraneous bytes before marker 0xd9"):
            raise
        return room.reshape(height, width, 3)


def _shortened(data: bytes, facts: JpegFacts, lines: int, reduction: int) -> tuple[bytes, int] | None:
    """The file with a header that says that it ends below so many lines, and the lines that it then has.

    Only for ordinary files: one scan, no restarts, an end where the end should be. Others are decoded whole, which
    also finds those that were cut short. The lines are those of whole blocks, and one more of reduced colour than asked for,
    since the row below has a part in the smooth enlarging of colours.
    """
    frame = _frame(data)
    if frame is None or data[-2:] != _END:
        return None
    kept = -(-(lines + 2 * reduction) // _MOST_LINES_A_BLOCK) * _MOST_LINES_A_BLOCK
    if kept >= facts.height or int.from_bytes(data[frame + 5 : frame + 7]) != facts.height:
        return None
    return b"".join((data[: frame + 5], kept.to_bytes(2), data[frame + 7 :])), kept


def _frame(data: bytes) -> int | None:
    """Where the frame's header is in a baseline file of one scan without restarts; None for others."""
    place, frame = 2, 0
    try:
        while data[place] == 0xFF:
            marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4])
            if marker == _SCAN:
                one_scan = frame and data[place + 4] == data[frame + 9]
                return frame if one_scan and _lines_a_block(data, frame) <= _MOST_LINES_A_BLOCK else None
            if marker in _OTHER_FRAMES or marker == _RESTARTS:
                return None
            frame = place if marker == _BASELINE else frame
            place += 2 + length
    except IndexError:
        pass
    return None


def _lines_a_block(data: bytes, frame: int) -> int:
    return 8 * max(data[frame + 11 + 3 * component] & 15 for component in range(data[frame + 9]))


def encode_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """RGB pixels, uint8 (H, W, 3), as the bytes of a JPEG with full colour resolution: flat uint8."""
    pixels = np.ascontiguousarray(pixels)
    if simplejpeg is not None:
        return np.frombuffer(simplejpeg.encode_jpeg(pixels, quality, "RGB", "444"), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def _orientation(data: bytes) -> int | None:
    """EXIF's orientation; None where it is written in a way that is left to Pillow."""
    blocks = list(_application_blocks(data))
    if any(block.startswith(_XMP) and b"rientation" in block for block in blocks):
        return None
    exif = [block[len(_EXIF) :] for block in blocks if block.startswith(_EXIF)]
    if len(exif) != 1:
        return None if exif else 1
    order = {b"II": "<", b"MM": ">"}[exif[0][:2]]
    (first,) = struct.unpack_from(order + "I", exif[0], 4)
    (count,) = struct.unpack_from(order + "H", exif[0], first)
    for entry in range(first + 2, first + 2 + 12 * count, 12):
        tag, kind, number, value = struct.unpack_from(order + "HHIH", exif[0], entry)
        if tag == _ORIENTATION_TAG:
            return value if (kind, number) == (3, 1) and 1 <= value <= 8 else None
    return 1


def _application_blocks(data: bytes) -> Iterator[bytes]:
    """The contents of the APP1 segments before the first scan: EXIF and XMP."""
    place = 2
    while data[place] == 0xFF and data[place + 1] != 0xDA:
        if data[place + 1] == 0xFF:  # a byte to fill up
            place += 1
            continue
        length = int.from_bytes(data[place + 2 : place + 4])
        if data[place + 1] == 0xE1:
            yield data[place + 4 : place + 2 + length]
        place += 2 + max(length, 2)
