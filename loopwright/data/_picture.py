"""One picture file to one RGB picture: gray, palette, alpha, 16-bit, CMYK, rotated ones too. Knows no datasets."""

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from .._errors import DataError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm"})

Made = TypeVar("Made")
_LARGE, _STRIP = 2**24, 256  # pixels of a picture; rows

_TURNS = {  # what makes a picture upright, by its EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_picture(path: str | Path, data: bytes | None = None) -> Image.Image:
    """Read a picture file as 8-bit RGB, upright.

    EXIF orientation is applied. Transparent pixels are laid over white, as a viewer shows them (their hidden colour is
    never seen). 16-bit gray is scaled to 8 bits, not clipped. The first frame of an animation is taken.

    Args:
        data: the content of the file, where it was read already.

    Raises:
        DataError: the file is missing, empty, cut short, not a picture, or a decompression bomb; it is named.
    """
    return open_as(to_rgb, path, data)


def open_as(convert: Callable[[Image.Image], Made], path: str | Path, data: bytes | None = None) -> Made:
    """What ``convert`` makes of a picture file that Pillow has opened and not yet decoded; errors as ``open_picture``."""
    # Not Image.open(path): an uncompressed TIFF is then mapped into memory, with width and height exchanged where its
    # orientation turns it (Pillow 13), and comes out scrambled.
    with naming(path), io.BytesIO(read_file(path) if data is None else data) as file, Image.open(file) as picture:
        _refuse_bomb(picture)
        return convert(picture)


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Whatever goes wrong in reading a picture becomes a ``DataError`` that names its file."""
    try:
        yield
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{path}: {error} If it is no bomb, raise PIL.Image.MAX_IMAGE_PIXELS; or use on_error='skip'"
        ) from error
    except MemoryError:
        raise  # says nothing about the file
    except Exception as error:  # a damaged file makes Pillow's readers raise nearly anything: struct.error, TypeError
        reason = "of no format that Pillow knows" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(
            f"{path}: not a readable picture ({reason}); repair or remove it, or use on_error='skip'"
        ) from error


def read_file(path: str | Path) -> bytes:
    """The content of a picture file; ``DataError`` where there is none."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        raise DataError(f"{path}: no such picture") from None
    except OSError as error:
        raise DataError(
            f"{path}: not a readable picture ({error.strerror}); repair or remove it, or use on_error='skip'"
        ) from None


def too_large(width: int, height: int) -> bool:
    """Whether a picture has more pixels than Pillow takes for harmless (``PIL.Image.MAX_IMAGE_PIXELS``)."""
    return Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS


@contextlib.contextmanager
def large_pictures(most: int = 2**29) -> Iterator[None]:
    """Within it pictures of up to so many pixels are read: for those that somebody names to have them worked on in parts.

    It is Pillow's own limit that is raised, for the whole process.
    """
    before = Image.MAX_IMAGE_PIXELS
    if before is not None:
        Image.MAX_IMAGE_PIXELS = max(before, most)
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _refuse_bomb(picture: Image.Image) -> None:
    """Pillow only warns up to twice its limit. (Its warning is not made an error by ``catch_warnings`` here: each use of
    that makes Python forget which warnings it has shown, so that all others come again for every picture.)
    """
    if too_large(picture.width, picture.height):
        raise Image.DecompressionBombError(
            f"{picture.width * picture.height} pixels are more than {Image.MAX_IMAGE_PIXELS}, could be a decompression bomb."
        )


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any Pillow picture as upright 8-bit RGB; see ``open_picture``.

    >>> to_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 0))).getpixel((0, 0))
    (255, 255, 255)
    """
    picture = upright(picture)
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode in ("I", "I;16", "I;16L", "I;16B", "F"):
        return _deep_gray(picture)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return picture.convert("RGB")


def upright(picture: Image.Image) -> Image.Image:
    """Decoded, turned or mirrored as EXIF says, without the EXIF block: who looks into it later must not turn it again."""
    picture.load()
    method = _turn_of(picture)
    turned = picture.copy() if method is None else picture.transpose(method)
    for name in ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"):
        turned.info.pop(name, None)
    return turned


def is_turned(path: str | Path) -> bool:
    """Whether a picture file says that it is to be turned or mirrored."""
    try:
        return open_as(_turn_of, path) is not None
    except DataError:
        return False  # no picture of Pillow's


def _turn_of(picture: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow raises nearly anything for a damaged block; viewers show such a picture as it is
        return None


def pixels_of(picture: Image.Image) -> np.ndarray:
    """A decoded picture as an array; a large one strip by strip, since all at once takes its memory two times over."""
    if picture.width * picture.height <= _LARGE:
        return np.asarray(picture)
    made: np.ndarray | None = None
    for top in range(0, picture.height, _STRIP):
        strip = np.asarray(picture.crop((0, top, picture.width, min(picture.height, top + _STRIP))))
        if made is None:
            made = np.empty((picture.height, *strip.shape[1:]), strip.dtype)
        made[top : top + _STRIP] = strip
    assert made is not None
    return made


def _deep_gray(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture)
    if picture.mode == "F":
        raise ValueError("a floating-point picture has no known range; load it with a function of your own")
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"values from {values.min()} to {values.max()} are no 16-bit gray")
    eight_bit = np.rint(values.astype(np.float32) / 257).astype(np.uint8)
    if "transparency" in picture.info:  # one level stands for it
        eight_bit[values == picture.info["transparency"]] = 255
    return Image.fromarray(eight_bit).convert("RGB")
