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
    assert simplejpeg is not None
    height, width = -(-facts.height // reduction), -(-facts.width // reduction)
    if room is not None and room.size < height * width * 3:
        room = None
    # The least size is asked for exactly: given some slack, the library takes 5/8 and the like, which are slow.
    least = (height, width) if reduction > 1 else (0, 0)
    return simplejpeg.decode_jpeg(data, "RGB", False, False, *least, 1, room, True)


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
