"""A run's picture, small enough to be carried in the page. Everything that Pillow refuses is no picture."""

import base64
import io
import warnings
from pathlib import Path

from .._files import open_regular

WIDEST = 640  # pixels
MOST_BYTES = 45_000
_MOST_PIXELS = 50_000_000


def small_picture(path: Path) -> str | None:
    """The picture as a data URI of a JPEG; None where there is none that can be read."""
    from PIL import Image

    try:
        with warnings.catch_warnings(), open(open_regular(path), "rb") as file:
            warnings.simplefilter("error")  # of pictures that are bombs
            image = Image.open(file, formats=("PNG", "JPEG"))
            if image.width * image.height > _MOST_PIXELS:
                return None
            image = image.convert("RGB")
            image.thumbnail((WIDEST, 4 * WIDEST), Image.Resampling.LANCZOS)
            return _uri(image)
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError):
        return None


def _uri(image: "object") -> str:
    for quality in (82, 70, 55, 40, 25):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality, optimize=True)  # type: ignore[attr-defined]
        if stream.tell() <= MOST_BYTES or quality == 25:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
