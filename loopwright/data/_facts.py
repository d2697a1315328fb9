"""What one picture file is: format, size, mode, whether it can be read, and how it looks. Knows no folders and classes."""

import hashlib
import io
import re
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from .._errors import DataError
from ._jpeg import decode_jpeg, jpeg_facts
from ._picture import open_picture, too_large
from ._turn import turn_of

_ENOUGH = 64  # pixels of the short side that are left when a file is read at a reduced size
LOOK = 12  # height and width of the picture that stands for one, pixels
_FLAT = 6.0  # standard deviation of grays, of 255: pictures below show nothing that could be compared

_GRAY_16 = ("I", "I;16", "I;16L", "I;16B", "I;16N")


class Facts(NamedTuple):
    """Of one file. What is not known of a broken one is empty or 0."""

    size: int  # bytes
    digest: bytes  # of its content
    format: str = ""  # as Pillow calls it
    width: int = 0  # upright
    height: int = 0
    mode: str = ""  # RGB, gray, palette, alpha, 16-bit, CMYK, ...
    turned: bool = False  # by its EXIF block
    frames: int = 1
    fault: str = ""  # why it cannot be used
    doubt: str = ""  # it can be read, but something is odd
    hash: int = -1  # 64-bit difference hash; -1 where there is nothing to compare
    look: bytes = b""  # LOOK x LOOK RGB pixels


def facts_of(data: bytes) -> Facts:
    """Read a file's content: all of its data, though not every pixel of a large JPEG."""
    digest = digest_of(data)
    if not data:
        return Facts(0, digest, fault="empty: 0 bytes")
    found = Facts(len(data), digest)
    try:
        with Image.open(io.BytesIO(data)) as picture:
            found = _of_header(found, picture, data)
            if too_large(picture.width, picture.height):
                return found._replace(fault=_bomb(picture.width * picture.height))
        return _of_pixels(found, data)
    except MemoryError:
        raise  # says nothing about the file
    except Exception as error:  # a damaged file makes Pillow's readers raise nearly anything
        return found._replace(fault=_reason(error, data))


def facts_of_pixels(pixels: np.ndarray) -> Facts:
    """Of a picture that is kept as pixels: uint8 (H, W, 3)."""
    look, code = _look(Image.fromarray(pixels))
    height, width = pixels.shape[:2]
    return Facts(pixels.size, digest_of(pixels.data), "raw", width, height, "RGB", look=look, hash=code)


def digest_of(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _of_header(found: Facts, picture: Image.Image, data: bytes) -> Facts:
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged block; it is passed over when the picture is read, too
        orientation = 1
    wide, high = picture.size if orientation not in (5, 6, 7, 8) else picture.size[::-1]
    # A phone's MPO is a JPEG with a preview behind it, no animation.
    frames = 1 if picture.format == "MPO" else _frames(picture)
    return found._replace(
        format="JPEG" if picture.format == "MPO" else picture.format or "", width=wide, height=high,
        mode=_kind(picture, data), turned=orientation in range(2, 9), frames=frames,
    )  # fmt: skip


def _frames(picture: Image.Image) -> int:
    try:
        return getattr(picture, "n_frames", 1)
    except Exception:  # damaged behind the first frame, which is the one that is read
        return 1


def _kind(picture: Image.Image, data: bytes) -> str:
    deep_png = picture.format == "PNG" and data[24:25] == b"\x10"  # Pillow keeps the upper 8 bits of deep RGB
    if picture.mode in _GRAY_16 or deep_png:
        return "16-bit"
    if picture.has_transparency_data:
        return "alpha"
    return {"L": "gray", "1": "black and white", "P": "palette", "F": "float"}.get(picture.mode, picture.mode)


def _of_pixels(found: Facts, data: bytes) -> Facts:
    """Decode all of the data; JPEG files at a reduced size, in which damage shows just as well."""
    facts = jpeg_facts(data)
    if facts is not None:
        short = min(facts.width, facts.height)
        reduction = next((by for by in (8, 4, 2) if short >= by * _ENOUGH), 1)
        try:
            pixels = turn_of(facts.orientation).pixels(decode_jpeg(data, facts, reduction))
        except ValueError as error:
            found = _of_damage(found, str(error))
        else:
            look, code = _look(Image.fromarray(np.ascontiguousarray(pixels)))
            return found._replace(look=look, hash=code)
    look, code = _look(open_picture("", data))
    return found._replace(look=look, hash=code)


def _of_damage(found: Facts, message: str) -> Facts:
    """What the JPEG library says, of which Pillow says nothing: lost data are filled with gray."""
    text = message.removeprefix("Corrupt JPEG data: ")
    if "extraneous" in text:
        return found._replace(doubt=f"odd JPEG data: {text}")
    return found._replace(fault=f"damaged JPEG data: {text}; a part of the picture is lost")


def _look(picture: Image.Image) -> tuple[bytes, int]:
    """A tiny picture, and a 64-bit difference hash: whether each gray is darker than that to its right, on 9 x 8 pixels.

    Source: N. Krawetz, "Kind of Like That", The Hacker Factor Blog, 2013 (dHash).
    """
    picture = picture.convert("RGB")
    look = picture.resize((LOOK, LOOK), Image.Resampling.BOX)
    gray = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX))
    if gray.std() < _FLAT:
        return look.tobytes(), -1
    return look.tobytes(), int.from_bytes(np.packbits(gray[:, :-1] < gray[:, 1:]).tobytes())


def _bomb(pixels: int | str) -> str:
    return f"{pixels} pixels, more than Pillow's {Image.MAX_IMAGE_PIXELS}: it may be a decompression bomb"


def _reason(error: Exception, data: bytes) -> str:
    """Why a picture cannot be read, in short."""
    if isinstance(error, DataError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    if isinstance(error, Image.DecompressionBombError):
        return _bomb(next(iter(re.findall(r"\d+", str(error))), "too many"))
    if isinstance(error, UnidentifiedImageError):
        return f"not a picture{_instead(data)}"
    text = " ".join(str(error).split()) or type(error).__name__
    return f"cut short: {text}" if "truncated" in text else f"cannot be read: {text}"


def _instead(data: bytes) -> str:
    start = data[:512].lstrip()
    if start.startswith(b"<"):
        return ": HTML or XML"
    if not data.strip(b"\0"):
        return ": nothing but zeros"
    try:
        data[:512].decode("ascii")
    except UnicodeDecodeError:
        return ": of no format that Pillow knows"
    return ": text"
