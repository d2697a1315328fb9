"""The numbers that a picture file stores, unchanged: 16-bit, palette indices, low bit depths. Knows no roles.

Pillow shows a picture as 8 bits a channel wherever it can; what is a measurement or a label must not be changed.
"""

import io
import re
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from .._errors import DataError
from ._npy import array_of
from ._picture import naming, open_as, pixels_of, read_file, upright

ARRAYS = ".npy"  # NumPy's own format is read, too
_TIFF_BITS = 258  # the tag of the bits a sample
_PNM = re.compile(rb"P([56])" + rb"(?:\s+(?:#[^\n]*\n\s*)*)(\d+)" * 3 + rb"\s")


def stored_values(path: str | Path) -> np.ndarray:
    """The numbers of a picture file as they stand in it, upright: (H, W) or (H, W, C), of the type that holds them.

    PNG of 1 to 16 bits and any number of channels, palette pictures as their indices, TIFF with one channel of integers
    or floats or with several of 8 bits, binary PGM and PPM, ``.npy``, and what else Pillow reads with 8 bits.

    Raises:
        DataError: as ``open_picture``; and for files of which Pillow keeps less than they hold.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "depth.png"
    >>> Image.fromarray(np.array([[0, 513, 65535]], np.uint16)).save(path)
    >>> stored_values(path)
    array([[    0,   513, 65535]], dtype=uint16)
    """
    if Path(path).suffix.lower() == ARRAYS:
        with naming(path):
            return array_of(read_file(path))
    data = read_file(path)
    return open_as(lambda picture: _values(picture, data, path), path, data)


def picture_values(picture: Image.Image, bits: int = 8) -> np.ndarray:
    """The numbers of a Pillow picture, upright; 2 and 4 bits a pixel are given back as 0 to 3 and 0 to 15."""
    picture = upright(picture)
    values = pixels_of(picture)
    if values.dtype == bool:
        return values.astype(np.uint8)
    if bits in (2, 4) and picture.mode == "L":  # Pillow has spread them over 0 to 255
        return values // (255 // (2**bits - 1))
    return values.astype(values.dtype.newbyteorder("="), copy=values.size <= 2**24)  # a small one is made writable


def is_lossy(path: str | Path) -> bool:
    """Whether the file is a JPEG, whose numbers are near those that were written, but not the same."""
    with open(path, "rb") as file:
        return file.read(3) == b"\xff\xd8\xff"


def _values(picture: Image.Image, data: bytes, path: str | Path) -> np.ndarray:
    if picture.format == "PPM" and data[:2] in (b"P2", b"P3", b"P5", b"P6"):
        return _pnm(data, path)
    bits, several = bits_of(picture, data), len(picture.getbands()) > 1
    if bits <= 8 or not several:
        return picture_values(picture, bits)
    if picture.format == "PNG":
        return _deep_png(data)
    raise DataError(
        f"{path}: it holds {bits} bits in each of several channels, of which Pillow keeps 8: give the role a loader= of "
        "your own"
    )


def bits_of(picture: Image.Image, data: bytes) -> int:
    """A channel, as the file has them."""
    if picture.format == "PNG":
        return data[24]
    if picture.format == "TIFF":
        return max(picture.tag_v2.get(_TIFF_BITS, (1,)))  # type: ignore[attr-defined]
    return 8


def _deep_png(data: bytes) -> np.ndarray:
    """16 bits in each of several channels, of which Pillow unpacks one byte: the high ones, then the low ones.

    (Read as little-endian, the byte that it keeps is the low one.)
    """
    high, low = (_unpacked(data, order).astype(np.uint16) for order in "BL")
    return high << 8 | low


def _unpacked(data: bytes, order: str) -> np.ndarray:
    if data[25] == 4:  # gray and alpha: Pillow reads its high bytes only, but can be told that it is 8-bit RGBA
        header = data[12:24] + b"\x08\x06" + data[26:29]
        data = data[:12] + header + zlib.crc32(header).to_bytes(4) + data[33:]
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(upright(picture))[:, :, 0 if order == "B" else 1 :: 2]
    with Image.open(io.BytesIO(data)) as picture:
        (tile,) = picture.tile  # type: ignore[attr-defined]
        picture.tile = [(*tile[:3], f"{picture.mode};16{order}")]  # type: ignore[attr-defined]
        return np.asarray(upright(picture))


def _pnm(data: bytes, path: str | Path) -> np.ndarray:
    """Pillow spreads what is not 0 to 255 over 0 to 255 or 0 to 65535."""
    header = _PNM.match(data)
    if header is None:
        raise DataError(f"{path}: a PNM file with numbers as text; give the role a loader= of your own")
    kind, width, height, highest = map(int, header.groups())
    shape = (height, width) if kind == 5 else (height, width, 3)
    stored = np.dtype("u1" if highest < 256 else ">u2")
    values = np.frombuffer(data, stored, int(np.prod(shape)), header.end()).reshape(shape)
    return values.astype(stored.newbyteorder("="))
