"""A run's picture, small enough to be carried in the page. Everything that Pillow refuses is no picture."""

import base64
import io
import os
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

from .._files import open_regular

WIDEST = 640  # pixels
MOST_BYTES = 45_000
_MOST_PIXELS = 50_000_000


def small_picture(path: Path, most_bytes: int = MOST_BYTES, widest: int = WIDEST) -> str | None:
    """The picture as a data URI; None where there is none that can be read."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return _small_picture(path, most_bytes, widest, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)  # a page that is refreshed shows most of them again
def _small_picture(path: Path, most_bytes: int, widest: int, size: int, time: int) -> str | None:
    from PIL import Image

    try:
        with warnings.catch_warnings(), open(open_regular(path), "rb") as file:
            warnings.simplefilter("error")  # of pictures that are bombs
            image = Image.open(file, formats=("PNG", "JPEG"))
            if image.width * image.height > _MOST_PIXELS:
                return None
            image = image.convert("RGB")
            image.thumbnail((widest, 4 * widest), Image.Resampling.LANCZOS)
            return _uri(image, most_bytes)
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError):
        return None


def _uri(image: Any, most_bytes: int) -> str:
    """With the best quality, and if need be the size, that so many bytes hold."""
    from PIL import features

    kind = "webp" if features.check("webp") else "jpeg"  # the first is smaller at the same look
    while True:
        for quality in (82, 65, 45, 25):
            stream = io.BytesIO()
            image.save(stream, kind, quality=quality)
            if stream.tell() <= most_bytes:
                break
        if stream.tell() <= most_bytes or min(image.size) < 64:
            return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
        image = image.resize((image.width * 2 // 3, image.height * 2 // 3))
