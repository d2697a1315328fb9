"""One picture file to one RGB picture, right for gray, palette, alpha, 16-bit, CMYK and rotated ones. Knows no datasets."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .._errors import DataError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm"})


def open_picture(path: str | Path) -> Image.Image:
    """Read a picture file as 8-bit RGB, upright.

    EXIF orientation is applied. Transparent pixels are laid over white, as a viewer shows them (their hidden colour is
    never seen). 16-bit gray is scaled to 8 bits, not clipped. The first frame of an animation is taken.

    Raises:
        DataError: the file is missing, empty, cut short, not a picture, or a decompression bomb; it is named.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # odd EXIF blocks and palette transparency: handled below
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                return to_rgb(picture)
    except FileNotFoundError:
        raise DataError(f"{path}: no such picture") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{path}: not a readable picture ({error}); repair or remove it, or use on_error='skip'"
        ) from error


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any Pillow picture as upright 8-bit RGB; see ``open_picture``.

    >>> to_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 0))).getpixel((0, 0))
    (255, 255, 255)
    """
    picture.load()
    picture = ImageOps.exif_transpose(picture)
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode in ("I", "I;16", "I;16L", "I;16B", "F"):
        return _deep_gray(picture)
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return picture.convert("RGB")


def _deep_gray(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture)
    if picture.mode == "F":
        raise ValueError("a floating-point picture has no known range; load it with a function of your own")
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"values from {values.min()} to {values.max()} are no 16-bit gray")
    eight_bit = np.rint(values.astype(np.float32) / 257).astype(np.uint8)
    return Image.fromarray(eight_bit).convert("RGB")
