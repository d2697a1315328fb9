"""``Recipe``: what packing makes of a picture, as text that a pack keeps. Knows no files of its own."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from .._errors import ConfigError
from ._jpeg import encode_jpeg
from ._view import View, Viewable


@dataclass(frozen=True)
class Recipe:
    """How a picture is stored.

    Args:
        size: its short side at most, in pixels; None leaves every picture as large as it is.
        crop: keep the central square only, ``size`` pixels wide: then all records are alike, and reading is fastest.
        format: ``"raw"`` (decoded: fastest to read, 3 bytes a pixel) or ``"jpeg"`` (encoded again, about a tenth of that).
        quality: of ``"jpeg"``, 1 to 100.

    >>> Recipe(size=256).view(500, 375)
    View(box=(0, 0, 500, 375), width=341, height=256, flip=False, reduction=1, turns=0, pad=None)
    """

    size: int | None = None
    crop: bool = False
    format: Literal["raw", "jpeg"] = "raw"
    quality: int = 90

    def __post_init__(self) -> None:
        if self.size is not None and (not isinstance(self.size, int) or self.size < 1):
            raise ConfigError(f"size must be a whole number of pixels, 1 or more, or None. Found: {self.size!r}")
        if self.crop and self.size is None:
            raise ConfigError("crop=True needs the size of the square")
        if self.format not in ("raw", "jpeg"):
            raise ConfigError(f"format must be 'raw' or 'jpeg'. Found: {self.format!r}")
        if not isinstance(self.quality, int) or not 1 <= self.quality <= 100:
            raise ConfigError(f"quality must be a whole number, 1 to 100. Found: {self.quality!r}")

    @classmethod
    def of(cls, facts: dict[str, Any]) -> "Recipe":
        """The recipe that has these ``facts``.

        Raises:
            ConfigError: none has.
        """
        try:
            return cls(**{key: value for key, value in facts.items() if value is not None})
        except TypeError as error:
            raise ConfigError(f"{facts} is no recipe: {error}") from None

    def facts(self) -> dict[str, Any]:
        """What decides the records; the quality only where there is one."""
        facts = asdict(self)
        return facts if self.format == "jpeg" else facts | {"quality": None}

    def view(self, width: int, height: int) -> View:
        """What of an upright picture is kept, at which size. Never enlarged, unless it is cropped."""
        short = min(width, height)
        if self.crop and self.size is not None:
            left, top = (width - short) // 2, (height - short) // 2
            return View((left, top, left + short, top + short), self.size, self.size)
        if self.size is None or short <= self.size:
            return View((0, 0, width, height), width, height)
        return View((0, 0, width, height), round(width * self.size / short), round(height * self.size / short))

    def make(self, picture: Viewable) -> tuple[np.ndarray, int, int]:
        """The record: flat uint8, and the height and width of its picture."""
        view = self.view(picture.width, picture.height)
        pixels = picture.show(view)
        data = pixels if self.format == "raw" else encode_jpeg(pixels, self.quality)
        return np.ascontiguousarray(data).reshape(-1), view.height, view.width
