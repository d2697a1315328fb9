"""JPEG bytes: their facts without decoding, and pixels at 1/1, 1/2, 1/4 or 1/8 of their size. Knows no files."""

import functools
import io
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from ._jpeg_top import END, shortened
from ._turn import Box

try:
    import simplejpeg
except ImportError:  # no wheel for this machine: Pillow reads everything
    simplejpeg = None
try:
    from . import _jpeg_part
except ImportError:  # not compiled here: a little more of each picture is decoded
    _jpeg_part = None

_START = b"\xff\xd8\xff"
_EXIF, _XMP = b"Exif\x00\x00", b"http://ns.adobe.com/xap/1.0/"
_ORIENTATION_TAG = 0x0112


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


def decode_jpeg(data: bytes, facts: JpegFacts, reduction: int, room: np.ndarray | None = None) -> np.ndarray:
    """RGB pixels, uint8 (ceil(height / reduction), ceil(width / reduction), 3), not turned upright.

    Args:
        room: memory to decode into: uint8, flat, large enough, or it is not used.

    Raises:
        ValueError: damaged data.
    """
    height, width = _size(facts, reduction)
    return _decode(
        data, height, width, reduction, room if room is not None and room.size >= height * width * 3 else None
    )


class JpegPart(NamedTuple):
    """Pixels of a picture, uint8 (H, W, 3), and where they lie in it: left, top, right, bottom. At the edges of what was
    asked for they may hold a margin that differs from the picture's own."""

    pixels: np.ndarray
    box: Box


def decode_part(data: bytes, facts: JpegFacts, reduction: int, box: Box, room: np.ndarray) -> JpegPart:
    """The same pixels, of a part at least: what lies beside and below it is left out as far as that can be done.

    Args:
        box: left, top, right, bottom of what is wanted of the picture at its reduced size.
        room: as that of ``decode_jpeg``.

    Raises:
        ValueError: damaged data. Damage that has no part in these pixels may not be noticed. Where it is, the file
            is read at full size: so a reduced view of a damaged file may come out otherwise where this is not compiled.
    """
    height, width = _size(facts, reduction)
    if data[-2:] != END or room.size < height * width * 3:  # cut short: to be decoded whole, which says it
        return JpegPart(decode_jpeg(data, facts, reduction, room), (0, 0, width, height))
    if parts_are_exact() and (part := _compiled(data, reduction, box, room)):
        return part
    if short := shortened(data, facts.height, box[3] * reduction, reduction):
        pixels = _decode_top(*short, width, reduction, room)
    else:
        pixels = _decode(data, height, width, reduction, room)
    return JpegPart(pixels, (0, 0, width, len(pixels)))


def _size(facts: JpegFacts, reduction: int) -> tuple[int, int]:
    return -(-facts.height // reduction), -(-facts.width // reduction)


def _decode(data: bytes, height: int, width: int, reduction: int, room: np.ndarray | None) -> np.ndarray:
    # The least size is asked for exactly: given some slack, the library takes 5/8 and the like, which are slow.
    least = (height, width) if reduction > 1 else (0, 0)
    return simplejpeg.decode_jpeg(data, "RGB", False, False, *least, 1, room, True)  # type: ignore[union-attr]


def _decode_top(data: bytes, lines: int, width: int, reduction: int, room: np.ndarray) -> np.ndarray:
    """Decode a file whose header was made to say that it ends early. What follows it is said to be superfluous."""
    height = -(-lines // reduction)
    room = room[: height * width * 3]
    try:
        return _decode(data, height, width, reduction, room)
    except ValueError as error:
        # The library tells of the first thing that it stumbles over only: damage in the rows that it decoded comes before.
        if not str(error).endswith("extraneous bytes before marker 0xd9"):
            raise
        return room.reshape(height, width, 3)


def _compiled(data: bytes, reduction: int, box: Box, room: np.ndarray) -> JpegPart | None:
    """None where it is damaged or of a rare kind: what is left to the other ways."""
    try:
        box = _jpeg_part.decode_part(data, reduction, box, room)  # type: ignore[union-attr]
    except ValueError:
        return None
    left, top, right, bottom = box
    return JpegPart(room[: (bottom - top) * (right - left) * 3].reshape(bottom - top, right - left, 3), box)


@functools.cache
def parts_are_exact() -> bool:
    """Whether parts are decoded by what was compiled, with the same bits: it may have been given another library."""
    if _jpeg_part is None or simplejpeg is None:
        return False
    pixels = np.random.Generator(np.random.Philox(0)).integers(0, 256, (48, 64, 3), np.uint8)
    data = simplejpeg.encode_jpeg(pixels, 90, "RGB", "420")
    part = _compiled(data, 1, (24, 24, 40, 40), np.empty(pixels.size, np.uint8))
    if part is None:
        return False
    left, top, _, _ = part.box
    inside = part.pixels[24 - top : 40 - top, 24 - left : 40 - left]
    return np.array_equal(inside, simplejpeg.decode_jpeg(data, "RGB")[24:40, 24:40])


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
